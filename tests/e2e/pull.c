/* tests/e2e/pull.c - downloads from a hub that is a server of this test: what is fetched and what not, going on, damage, refusals, names, and training on it. */
#include "tests/e2e/world.h"
#include "tests/support/hub_server.h"

#include <sys/stat.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define BLOB   "89abcdef0123456789abcdef0123456789abcdef"
#define OTHER  "99abcdef0123456789abcdef0123456789abcdef"

static const char weights[] = "these stand for weights, which nobody reads here: 0123456789 0123456789 0123456789";

static char listing[8192], sum_of_weights[65];
static int port;

static const char *text(const char *fmt, ...) GRAFT_PRINTF(1, 2);
static const char *text(const char *fmt, ...)
{
    static char out[16][9000];
    static int at;
    va_list args;
    at = (at + 1) % 16;
    va_start(args, fmt);
    vsnprintf(out[at], sizeof out[at], fmt, args);
    va_end(args);
    return out[at];
}

/* A world whose downloads come from the routes. */
static void hub(const char *name, const hub_route *routes, size_t n)
{
    graft_sha256 sum;
    graft_sha256_init(&sum);
    graft_sha256_add(&sum, weights, sizeof weights - 1);
    graft_sha256_hex(&sum, sum_of_weights);
    snprintf(root, sizeof root, "%s", graft_test_dir(name));
    port = hub_server_start(routes, n);
    setenv("HF_ENDPOINT", text("http://127.0.0.1:%d/", port), 1);
    setenv("HF_HUB_CACHE", in_world("hub"), 1);
    setenv("NO_PROXY", "*", 1);
    unsetenv("HF_HUB_OFFLINE");
    setenv("HF_TOKEN", "secret", 1);
}

static void list_model(const char *more)
{
    snprintf(listing, sizeof listing, "{\"sha\": \"" COMMIT "\", \"siblings\": [{\"rfilename\": \"config.json\", \"size\": 2, \"blobId\": \"" BLOB "\"}, {\"rfilename\": \"model.safetensors\", \"size\": %zu, \"blobId\": \"" OTHER "\", \"lfs\": {\"sha256\": \"%s\", \"size\": %zu}}%s]}",
             sizeof weights - 1, sum_of_weights, sizeof weights - 1, more);
}

static int asked(const char *what)
{
    int n = 0;
    for (const char *p = hub_server_log(); (p = strstr(p, what)); p++) n++;
    return n;
}

static const char *snapshot(const char *file) { return in_world("hub/models--org--tiny/snapshots/" COMMIT "/%s", file); }

static void expect_text(const char *path, const char *wanted)
{
    char *found = get_text(path);
    ck_assert_str_eq(found, wanted);
    graft_free(found);
}

#define LIST      "/api/models/org/tiny/revision/main?blobs=true"
#define FILES     "/org/tiny/resolve/" COMMIT
#define ROUTES(r) r, sizeof r / sizeof *r

START_TEST(whole)
{
    static char away[300];
    static hub_route r[] = {{.target = LIST, .body = listing}, {.target = FILES "/config.json", .body = "{}", .bytes = 2}, {.target = FILES "/model.safetensors", .status = 302, .headers = away}, {.target = "/cdn?sign=1", .body = weights, .bytes = sizeof weights - 1}, {.target = FILES "/additional_chat_templates/a%20b.jinja", .body = "x", .bytes = 1}};
    char link[4096] = "";
    hub("e2e-pull-whole", ROUTES(r));
    list_model(", {\"rfilename\": \"additional_chat_templates/a b.jinja\", \"size\": 1, \"blobId\": \"" OTHER "\"}, {\"rfilename\": \"pytorch_model.bin\", \"size\": 5}, {\"rfilename\": \"run.py\", \"size\": 5}, {\"rfilename\": \"onnx/model.json\", \"size\": 5}");
    r[0].bytes = strlen(listing);
    snprintf(away, sizeof away, "Location: http://localhost:%d/cdn?sign=1\r\n", port); /* another host */
    expect_status(0, graft("pull", "org/tiny"));
    expect_said(said_out, "hub/models--org--tiny/snapshots/" COMMIT "\n");
    expect_said(said_err, "2 files that are not data are left out");
    expect_text(snapshot("config.json"), "{}");
    expect_text(snapshot("model.safetensors"), weights);
    expect_text(snapshot("additional_chat_templates/a b.jinja"), "x");
    expect_text(in_world("hub/models--org--tiny/refs/main"), COMMIT);
    expect_text(in_world("hub/models--org--tiny/blobs/%s", sum_of_weights), weights);
    ck_assert_int_gt(readlink(snapshot("additional_chat_templates/a b.jinja"), link, sizeof link - 1), 0);
    ck_assert_str_eq(link, "../../../blobs/" OTHER);
    ck_assert(!graft_path_exists(snapshot("pytorch_model.bin")) && !graft_path_exists(snapshot("run.py")) && !graft_path_exists(snapshot("onnx")));
    ck_assert_int_eq(asked("token=secret host=127.0.0.1"), 4);
    ck_assert_int_eq(asked("GET /cdn?sign=1 host=localhost"), 1); /* without the token */
    hub_server_forget();
    expect_status(0, graft("pull", "org/tiny", "--json"));
    expect_said(said_out, "\"folder\": ");
    ck_assert_int_eq(asked("GET"), 1); /* the list alone */
    /* It is found without a network, by name. */
    hub_server_forget();
    expect_status(1, graft("tokenize", "--model_name_or_path", "org/tiny"));
    expect_said(said_err, "snapshots/" COMMIT); /* no tokenizer in it */
    ck_assert_int_eq(asked("GET"), 0);
    /* Named files, of a revision that is a commit. */
    expect_status(1, graft("pull", "org/tiny", "*.gguf"));
    expect_said(said_err, "no file of the model org/tiny is named like \"*.gguf\"");
}
END_TEST

START_TEST(going_on)
{
    static hub_route r[] = {{.target = LIST, .body = listing}, {.target = FILES "/config.json", .body = "{}", .bytes = 2, .no_ranges = 1}, {.target = FILES "/model.safetensors", .body = weights, .bytes = sizeof weights - 1, .cut = 30}};
    hub("e2e-pull-resumed", ROUTES(r));
    list_model("");
    r[0].bytes = strlen(listing);
    /* The connection ends early; what came is kept. A beginning of config.json is here that the server will not go on from. */
    ck_assert_ok(graft_dir_make(in_world("hub/models--org--tiny/blobs"), &err));
    put_text(in_world("hub/models--org--tiny/blobs/" BLOB ".incomplete"), "x");
    expect_status(0, graft("pull", "org/tiny"));
    expect_text(snapshot("model.safetensors"), weights);
    expect_text(snapshot("config.json"), "{}");
    ck_assert_int_eq(asked("/model.safetensors range=bytes=30-"), 1);
    ck_assert_int_eq(asked("/config.json range=bytes=1-"), 1);
    /* A part that an earlier run left. */
    ck_assert_ok(graft_path_remove(in_world("hub/models--org--tiny/blobs/%s", sum_of_weights), &err));
    ck_assert_ok(graft_file_replace(in_world("hub/models--org--tiny/blobs/%s.incomplete", sum_of_weights), weights, 50, &err));
    expect_status(0, graft("pull", "org/tiny"));
    expect_text(snapshot("model.safetensors"), weights);
    ck_assert_int_eq(asked("/model.safetensors range=bytes=50-"), 1);
    ck_assert(!graft_path_exists(in_world("hub/models--org--tiny/blobs/%s.incomplete", sum_of_weights)));
}
END_TEST

START_TEST(damage)
{
    static char wrong[sizeof weights];
    static hub_route r[] = {{.target = LIST, .body = listing}, {.target = FILES "/config.json", .body = "{}", .bytes = 2}, {.target = FILES "/model.safetensors", .body = wrong, .bytes = sizeof weights - 1}};
    hub("e2e-pull-damage", ROUTES(r));
    list_model("");
    r[0].bytes = strlen(listing);
    memcpy(wrong, weights, sizeof weights);
    wrong[7] ^= 1;
    expect_status(1, graft("pull", "org/tiny"));
    expect_said(said_err, "model.safetensors: its SHA-256 is ");
    ck_assert(!graft_path_exists(snapshot("model.safetensors")) && !graft_path_exists(in_world("hub/models--org--tiny/refs/main")));
    ck_assert(!graft_path_exists(in_world("hub/models--org--tiny/blobs/%s.incomplete", sum_of_weights)));
    wrong[7] ^= 1;
    expect_status(0, graft("pull", "org/tiny"));
    expect_text(snapshot("model.safetensors"), weights);
    r[1].body = "{ }", r[1].bytes = 3; /* more than the list says */
    ck_assert_ok(graft_path_remove(in_world("hub"), &err));
    expect_status(1, graft("pull", "org/tiny"));
    expect_said(said_err, "config.json: more bytes came than the hub's list says (2)");
}
END_TEST

START_TEST(refusals)
{
    static hub_route r[] = {{.target = "/api/models/org/gated/revision/main?blobs=true", .status = 403, .headers = "X-Error-Code: GatedRepo\r\n"}, {.target = "/api/models/org/none/revision/main?blobs=true", .status = 401, .headers = "X-Error-Code: RepoNotFound\r\n"}, {.target = "/api/models/org/tiny/revision/v%2F2?blobs=true", .status = 404, .headers = "X-Error-Code: RevisionNotFound\r\n"}, {.target = LIST, .body = listing}, {.target = "/api/models/org/page/revision/main?blobs=true", .body = "<html>", .bytes = 6}};
    static const char *const names[] = {"../../out.json", "/etc/passwd.json", "a/../../x.json", "a//b.json", "a\\\\b.json", "..", "a/./b.json", ""};
    hub("e2e-pull-refusals", ROUTES(r));
    expect_status(1, graft("pull", "org/gated"));
    expect_said(said_err, "the model org/gated is gated: accept its terms at http://127.0.0.1");
    expect_status(1, graft("pull", "org/none"));
    expect_said(said_err, "the hub refuses the list of files of the model org/none to this token (status 401)");
    unsetenv("HF_TOKEN");
    expect_status(1, graft("pull", "org/none"));
    expect_said(said_err, "the hub has no model org/none that can be seen without a token (status 401)");
    expect_status(1, graft("pull", "org/absent"));
    expect_said(said_err, "the hub has no model org/absent that can be seen without a token (status 404)");
    expect_status(1, graft("pull", "org/tiny", "--model_revision", "v/2"));
    expect_said(said_err, "the model org/tiny has no revision \"v/2\"");
    expect_status(1, graft("pull", "org/page"));
    ck_assert_int_eq(said_err[0], 'g');
    expect_status(1, graft("pull", "org/../x"));
    expect_said(said_err, "expected a name of the hub, ORG/NAME");
    expect_status(1, graft("pull"));
    expect_said(said_err, "nothing was named");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        list_model(text(", {\"rfilename\": \"%s\", \"size\": 2, \"blobId\": \"" OTHER "\"}", names[i]));
        r[3].bytes = strlen(listing);
        expect_status(1, graft("pull", "org/tiny"));
        expect_said(said_err, "which would lie outside of its folder; nothing was fetched");
        ck_assert(!graft_path_exists(in_world("hub/models--org--tiny")));
    }
    snprintf(listing, sizeof listing, "{\"sha\": \"" COMMIT "\", \"siblings\": [{\"rfilename\": \"config.json\", \"size\": 2, \"blobId\": \"" BLOB "\"}, {\"rfilename\": \"pytorch_model.bin\", \"size\": 2}]}");
    r[3].bytes = strlen(listing);
    expect_status(1, graft("pull", "org/tiny"));
    expect_said(said_err, "org/tiny has its weights as pickle alone (pytorch_model.bin), which can run code when it is read");
    snprintf(listing, sizeof listing, "{\"sha\": \"" COMMIT "\", \"siblings\": [{\"rfilename\": \"x-q4.gguf\", \"size\": 2}, {\"rfilename\": \"x-q8.gguf\", \"size\": 2}]}");
    r[3].bytes = strlen(listing);
    expect_status(1, graft("pull", "org/tiny"));
    expect_said(said_err, "name one of them, as in `graft pull org/tiny FILE`, of x-q4.gguf, x-q8.gguf");
    setenv("HF_HUB_OFFLINE", "1", 1);
    expect_status(1, graft("pull", "org/tiny"));
    expect_said(said_err, "HF_HUB_OFFLINE is set");
    expect_status(1, graft("train", "--model_name_or_path", "org/tiny", "--dataset", "x", "--output_dir", in_world("out")));
    expect_said(said_err, "fetch it with `graft pull org/tiny` where there is a network (here HF_HUB_OFFLINE is set)");
}
END_TEST

/* A dataset of the registry is fetched when it is asked for: the files of its split, as the README's configs say, and no others. */
START_TEST(datasets)
{
    static const char readme[] = "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/part-*\n  - split: test\n    path: en/held.jsonl\n- config_name: fr\n  data_files: fr.jsonl\n---\n# A set\n";
    static const char row[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"hello\"}, {\"role\": \"assistant\", \"content\": \"bonjour\"}]}\n";
    static char all[2000];
#define DATA "/datasets/org/talk/resolve/" COMMIT
    static hub_route r[] = {{.target = "/api/datasets/org/talk/revision/main?blobs=true", .body = all}, {.target = DATA "/README.md", .body = readme, .bytes = sizeof readme - 1}, {.target = DATA "/en/part-00000-of-00002.jsonl", .body = row, .bytes = sizeof row - 1}, {.target = DATA "/en/part-00001-of-00002.jsonl", .body = row, .bytes = sizeof row - 1}};
    make_world("e2e-pull-datasets");
    static char kept[3000];
    snprintf(kept, sizeof kept, "%s", root);
    snprintf(all, sizeof all, "{\"sha\": \"" COMMIT "\", \"siblings\": [{\"rfilename\": \"README.md\"}, {\"rfilename\": \"en/part-00000-of-00002.jsonl\"}, {\"rfilename\": \"en/part-00001-of-00002.jsonl\"}, {\"rfilename\": \"en/held.jsonl\"}, {\"rfilename\": \"fr.jsonl\"}, {\"rfilename\": \"load.py\"}]}");
    r[0].bytes = strlen(all);
    hub("e2e-pull-hub", ROUTES(r));
    snprintf(root, sizeof root, "%s", kept);
    setenv("HF_HUB_CACHE", in_world("hub"), 1);
    put_text(in_world("data/dataset_info.json"), "{\"talk\": {\"hf_hub_url\": \"org/talk\", \"subset\": \"en\", \"formatting\": \"sharegpt\", \"columns\": {\"messages\": \"messages\"}, \"tags\": {\"role_tag\": \"role\", \"content_tag\": \"content\", \"user_tag\": \"user\", \"assistant_tag\": \"assistant\"}},\n"
                                                 " \"other\": {\"hf_hub_url\": \"org/talk\"}, \"held\": {\"hf_hub_url\": \"org/talk\", \"subset\": \"en\", \"split\": \"test\"}}\n");
    expect_status(0, graft("data", "show", in_world("run.yaml"), "dataset=talk"));
    expect_said(said_err, "dataset 'talk' is not on this machine: org/talk is fetched from the hub");
    expect_said(said_out, "bonjour");
    ck_assert_int_eq(asked("GET"), 4);
    hub_server_forget();
    expect_status(0, graft("train", in_world("run.yaml"), "dataset=talk", "max_steps=1", text("output_dir=%s/out", root)));
    ck_assert_int_eq(asked("GET"), 0);
    expect_status(1, graft("pull", "other", "--dataset_dir", in_world("data")));
    expect_said(said_err, "the dataset has several subsets: name one with \"subset\" in its entry, of en, fr");
    ck_assert_int_eq(asked("load.py"), 0);
    setenv("HF_HUB_OFFLINE", "1", 1);
    expect_status(0, graft("train", in_world("run.yaml"), "dataset=talk", "max_steps=1", text("output_dir=%s/out2", root)));
    expect_status(1, graft("train", in_world("run.yaml"), "dataset=held", "max_steps=1", text("output_dir=%s/out3", root)));
    expect_said(said_err, "no file of the dataset is of its split \"test\" in subset en");
    unsetenv("HF_HUB_OFFLINE");
    ck_assert_ok(graft_path_remove(in_world("hub"), &err));
    expect_status(0, graft("pull", text("%s/run.yaml", root), "dataset=talk"));
    ck_assert(graft_path_exists(in_world("hub/datasets--org--talk/snapshots/" COMMIT "/en/part-00001-of-00002.jsonl")));
}
END_TEST

START_TEST(modelscope)
{
    static const char set[] = "{\"Code\": 200, \"Data\": {\"Id\": 12}}", tree[] = "{\"Code\": 200, \"Data\": {\"Files\": [{\"Path\": \"data\", \"Type\": \"tree\"}, {\"Path\": \"data/train.jsonl\", \"Type\": \"blob\", \"Size\": 3}, {\"Path\": \"data/test.jsonl\", \"Type\": \"blob\", \"Size\": 3}]}}";
    static char files[2000];
    static hub_route r[] = {{.target = "/api/v1/models/org/ti.ny/repo/files?Revision=master&Recursive=True", .body = files}, {.target = "/api/v1/models/org/ti.ny/repo?Revision=master&FilePath=config.json", .body = "{}", .bytes = 2}, {.target = "/api/v1/models/org/ti.ny/repo?Revision=master&FilePath=model.safetensors", .body = weights, .bytes = sizeof weights - 1, .cut = 20}, {.target = "/api/v1/datasets/org/talk", .body = set, .bytes = sizeof set - 1}, {.target = "/api/v1/datasets/12/repo/tree?Revision=master&Root=/&Recursive=True&PageNumber=1&PageSize=200", .body = tree, .bytes = sizeof tree - 1}, {.target = "/api/v1/datasets/org/talk/repo?Source=SDK&Revision=master&FilePath=data%2Ftrain.jsonl", .body = "{}\n", .bytes = 3}};
    hub("e2e-pull-modelscope", ROUTES(r));
    setenv("MODELSCOPE_DOMAIN", text("http://127.0.0.1:%d", port), 1);
    setenv("MODELSCOPE_CACHE", in_world("scope"), 1);
    setenv("MODELSCOPE_API_TOKEN", "other", 1);
    setenv("USE_MODELSCOPE_HUB", "1", 1);
    snprintf(files, sizeof files, "{\"Code\": 200, \"Data\": {\"Files\": [{\"Path\": \"config.json\", \"Type\": \"blob\", \"Size\": 2}, {\"Path\": \"model.safetensors\", \"Type\": \"blob\", \"Size\": %zu, \"Sha256\": \"%s\"}, {\"Path\": \"run.py\", \"Type\": \"blob\", \"Size\": 2}]}}", sizeof weights - 1, sum_of_weights);
    r[0].bytes = strlen(files);
    expect_status(0, graft("pull", "org/ti.ny"));
    expect_said(said_out, "scope/models/org/ti___ny\n");
    expect_text(in_world("scope/models/org/ti___ny/model.safetensors"), weights);
    expect_text(in_world("scope/models/org/ti___ny/config.json"), "{}");
    ck_assert_int_eq(asked("FilePath=model.safetensors range=bytes=20- token=other"), 1);
    hub_server_forget();
    expect_status(0, graft("pull", "org/ti.ny"));
    ck_assert_int_eq(asked("GET"), 1);
    expect_status(1, graft("tokenize", "--model_name_or_path", "org/ti.ny"));
    expect_said(said_err, "scope/models/org/ti___ny");
    ck_assert_ok(graft_dir_make(in_world("data"), &err));
    put_text(in_world("data/dataset_info.json"), "{\"talk\": {\"hf_hub_url\": \"no/where\", \"ms_hub_url\": \"org/talk\"}}\n");
    expect_status(0, graft("pull", "talk", "--dataset_dir", in_world("data")));
    expect_text(in_world("scope/datasets/org/talk/data/train.jsonl"), "{}\n");
    ck_assert(!graft_path_exists(in_world("scope/datasets/org/talk/data/test.jsonl")));
    expect_status(1, graft("pull", "org/none"));
    expect_said(said_err, "the hub has no model org/none (status 404)");
    snprintf(files, sizeof files, "{\"Code\": 200, \"Data\": {\"Files\": [{\"Path\": \"../config.json\", \"Type\": \"blob\", \"Size\": 2}]}}");
    r[0].bytes = strlen(files);
    expect_status(1, graft("pull", "org/ti.ny"));
    expect_said(said_err, "which would lie outside of its folder; nothing was fetched");
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, whole);
    tcase_add_test(tc, going_on);
    tcase_add_test(tc, damage);
    tcase_add_test(tc, refusals);
    tcase_add_test(tc, datasets);
    tcase_add_test(tc, modelscope);
}

int main(void) { return graft_test_main("pull", cases); }
