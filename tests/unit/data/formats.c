/* What files hold, without an entry and with one: questions and answers by other names, texts, tables, preferences, folders; entries that lie elsewhere;
 * records that are none; what the flags change. (Token for token: tests/golden/samples.c.) */
#include "tests/unit/data/ground.h"

#include "core/base/str.h"

/* Sample i as text: labels in brackets, parts divided by a bar. */
static const char *shown(const ground *g, int64_t i)
{
    static graft_str out;
    graft_error err = GRAFT_ERROR_INIT;
    graft_sample s;
    graft_str_free(&out);
    graft_str_init(&out, 0);
    ck_assert_ok(graft_dataset_get(g->train, i, &s, &err));
    for (int64_t k = 0; k < s.n; k++) {
        const int labelled = s.labels[k] != -100, before = k && s.labels[k - 1] != -100, border = s.parts > 1 && k == s.part_ends[0];
        if (before && (!labelled || border)) graft_str_text(&out, "]");
        if (border) graft_str_text(&out, "|");
        if (labelled && (!before || border)) graft_str_text(&out, "[");
        ck_assert_ok(graft_tokenizer_decode(g->tok, &s.ids[k], 1, 0, &out, &err));
    }
    if (s.n && s.labels[s.n - 1] != -100) graft_str_text(&out, "]");
    return out.data;
}

static void gives(ground *g, const char *name, const char *text, int64_t n, const char *first)
{
    ck_assert_msg(ground_load(g, ground_file(name, text)) == GRAFT_OK, "%s: %s: %s", name, g->err.where, g->err.message);
    ck_assert_int_eq(graft_dataset_count(g->train), n);
    ck_assert_str_eq(shown(g, 0), first);
}

static void refuses(ground *g, const char *names, const char *sentence)
{
    ck_assert_int_ne(ground_load(g, names), GRAFT_OK);
    char all[1400];
    snprintf(all, sizeof all, "%s: %s", g->err.where, g->err.message);
    ck_assert_msg(strstr(all, sentence) != NULL, "\"%s\" does not say \"%s\"", all, sentence);
}

START_TEST(without_entry)
{
    ground g = ground_open_with("formats", "empty");
    gives(&g, "a.json", "[{\"instruction\":\"i\",\"input\":\"q\",\"output\":\"a\",\"system\":\"s \"}]", 1, "s i\nq[a]");
    gives(&g, "a.jsonl", "{\"prompt\":\"p\",\"response\":\"r\"}\n{\"prompt\":\"p\",\"response\":\"r\"}", 2, "p[r]");
    gives(&g, "a.jsonl", "{\"prompt\":\"p\",\"completion\":\"c\"}", 1, "p[c]");
    gives(&g, "a.csv", "question,answer\nq,\"a, b\"\n", 1, "q[a, b]");
    gives(&g, "a.tsv", "question\tanswer\nq\ta\n", 1, "q[a]");
    gives(&g, "a.json", "[{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"},{\"from\":\"gpt\",\"value\":\"a\"}]}]", 1, "q[a]");
    gives(&g, "a.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"}],\"tools\":[]}", 1, "detailed thinking offq[a]");
    refuses(&g, ground_file("a.csv", "question,answer\nq,1\nr,2\n"), "all 2 were dropped, the first because: a.csv: record 1 (byte 16): answer is a number, not a text");
    refuses(&g, ground_file("a.txt", "one\ntwo\n"), "it is a plain text, not a conversation to learn from");
    g.o.pretrain = 1, g.o.packing = GRAFT_PACKING_OFF;
    gives(&g, "a.txt", "one\ntwo\n", 2, "[one]<|im_end|>"); /* eos is this tokenizer's pad, which is no label */
    gives(&g, "a.jsonl", "{\"text\":\"one\"}\n{\"text\":null}\n", 1, "[one]<|im_end|>");
    g.o.learn_pad = 1;
    gives(&g, "a.txt", "one\ntwo\n", 2, "[one<|im_end|>]");
    ground_close(&g);
}
END_TEST

START_TEST(preferences)
{
    ground g = ground_open_with("preferences", "empty");
    g.o.preference = GRAFT_PREFERENCE_PAIRS;
    gives(&g, "p.jsonl", "{\"prompt\":\"q\",\"chosen\":\"c\",\"rejected\":\"r\"}", 1, "q[c]|q[r]");
    gives(&g, "p.json", "[{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"}],\"chosen\":{\"from\":\"gpt\",\"value\":\"c\"},\"rejected\":{\"from\":\"gpt\",\"value\":\"r\"}}]", 1, "q[c]|q[r]");
    gives(&g, "p.json", "[{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"chosen\":{\"role\":\"assistant\",\"content\":\"c\"},\"rejected\":{\"role\":\"assistant\",\"content\":\"r\"}}]", 1, "detailed thinking offq[c]|detailed thinking offq[r]");
    refuses(&g, ground_file("p.jsonl", "{\"prompt\":\"q\",\"chosen\":\"c\"}"), "p.jsonl: record 1 (byte 0): \"rejected\" is missing");
    g.o.preference = GRAFT_PREFERENCE_LABELS;
    gives(&g, "k.jsonl", "{\"prompt\":\"q1\",\"response\":\"good\",\"kto_tag\":true}\n{\"prompt\":\"q2\",\"response\":\"bad\",\"kto_tag\":false}\n", 2, "q1[good]|q1[bad]"); /* the first takes the last's */
    ck_assert_int_eq(graft_dataset_at(g.train, 0).desirable, 1);
    ck_assert_int_eq(graft_dataset_at(g.train, 1).desirable, 0);
    ck_assert_str_eq(shown(&g, 1), "q2[bad]|q2[good]");
    refuses(&g, ground_file("k.jsonl", "{\"prompt\":\"q\",\"response\":\"r\"}"), "nothing says whether its answer is good or bad");
    g.o.preference = GRAFT_PREFERENCE_NONE;
    refuses(&g, ground_file("k.jsonl", "{\"prompt\":\"q\",\"response\":\"r\",\"kto_tag\":true}"), "it is a preference record, not a conversation to learn from");
    ground_close(&g);
}
END_TEST

START_TEST(folders_and_patterns)
{
    ground g = ground_open_with("folders", "empty");
    graft_error err = GRAFT_ERROR_INIT;
    char path[4300];
    static const char *const files[] = {"b.jsonl", "a.jsonl", "c.json", ".hidden.jsonl"}, *const texts[] = {"{\"prompt\":\"b\",\"response\":\"2\"}", "{\"prompt\":\"a\",\"response\":\"1\"}", "[{\"instruction\":\"c\",\"output\":\"3\"}]", "{"};
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", g.dir, files[i]);
        ck_assert_ok(graft_file_replace(path, texts[i], strlen(texts[i]), &err));
    }
    ck_assert_int_eq(ground_load(&g, g.dir), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(g.train), 3);
    ck_assert_str_eq(shown(&g, 0), "a[1]"); /* in the order of names */
    ck_assert_str_eq(shown(&g, 2), "c[3]");
    snprintf(path, sizeof path, "%s/*.jsonl", g.dir);
    ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(g.train), 2);
    snprintf(path, sizeof path, "%s/x*.jsonl", g.dir);
    refuses(&g, path, "no file of the folder is named like \"x*.jsonl\"");
    static const char *const saved[] = {"saved/train/a.jsonl", "saved/train/state.json", "saved/train/dataset_info.json", "saved/dataset_dict.json"}, *const contents[] = {"{\"prompt\":\"b\",\"response\":\"2\"}", "{}", "{}", "{\"splits\": [\"train\"]}"};
    snprintf(path, sizeof path, "%s/saved/train", g.dir);
    ck_assert_ok(graft_dir_make(path, &err));
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", g.dir, saved[i]);
        ck_assert_ok(graft_file_replace(path, contents[i], strlen(contents[i]), &err));
    }
    snprintf(path, sizeof path, "%s/saved", g.dir);
    ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(g.train), 1);
    ck_assert_str_eq(shown(&g, 0), "b[2]");
    refuses(&g, ground_file("t.arrow", "ARROW1"), "the Arrow file is damaged (it is cut short)");
    refuses(&g, ground_file("t.parquet", "PAR1"), "it is cut short: copy or download it again");
    ground_close(&g);
}
END_TEST

/* Entries of a dataset_info.json. */
START_TEST(entries)
{
    static const char info[] = "{\"hub\": {\"hf_hub_url\": \"a/b\"}, \"program\": {\"script_url\": \"x\"},"
                               "\"split\": {\"file_name\": \"e.jsonl\", \"split\": \"test\"}, \"pairs\": {\"file_name\": \"e.jsonl\", \"ranking\": true},"
                               "\"whole\": {\"file_name\": \"e.jsonl\", \"split\": \"train\", \"subset\": null, \"folder\": null, \"columns\": {\"prompt\": \"p\", \"response\": \"r\"}},"
                               "\"text\": {\"file_name\": \"e.jsonl\", \"formatting\": \"text\", \"columns\": {\"prompt\": \"p\"}}}";
    graft_error err = GRAFT_ERROR_INIT;
    ground g = ground_open_with("entries", "empty");
    char path[4200], shipped[4200];
    snprintf(path, sizeof path, "%s/dataset_info.json", g.dir);
    ck_assert_ok(graft_file_replace(path, info, sizeof info - 1, &err));
    snprintf(path, sizeof path, "%s/e.jsonl", g.dir);
    ck_assert_ok(graft_file_replace(path, "{\"p\":\"q\",\"r\":\"a\"}", 17, &err));
    graft_registry_close(g.registry);
    snprintf(shipped, sizeof shipped, "%s/lib/graft/registry.json", GRAFT_BINARY_DIR);
    const graft_registry_options ro = {.shipped = shipped, .dataset_dir = g.dir};
    ck_assert_ok(graft_registry_open(&ro, &g.registry, &err));
    ck_assert_int_eq(ground_load(&g, "whole"), GRAFT_OK);
    ck_assert_str_eq(shown(&g, 0), "q[a]");
    refuses(&g, "hub", "dataset \"hub\" is \"a/b\" of the hub and is not on this machine; fetch it with `graft pull hub`");
    refuses(&g, "program", "dataset \"program\" is made by a program (script_url \"x\"), and no data's own code is run here");
    refuses(&g, "split", "dataset \"split\": a file has no split but \"train\", found \"test\"");
    refuses(&g, "pairs", "dataset \"pairs\" holds preferences (\"ranking\")");
    g.o.pretrain = 1, g.o.packing = GRAFT_PACKING_OFF, g.o.learn_pad = 1;
    ck_assert_int_eq(ground_load(&g, "text"), GRAFT_OK);
    ck_assert_str_eq(shown(&g, 0), "[q<|im_end|>]");
    ground_close(&g);
}
END_TEST

START_TEST(bad_records)
{
    static const char lines[] = "{\"prompt\":\"a\",\"response\":\"1\"}\n{oops\n{\"prompt\":\"b\"}\n[1]\n{\"prompt\":\"c\",\"response\":[]}\n{\"prompt\":\"d\",\"response\":\"4\"}\n";
    ground g = ground_open_with("bad", "empty");
    refuses(&g, ground_file("b.jsonl", lines), "b.jsonl:2:2: record 2: ");
    g.o.skip_bad_records = 1;
    ck_assert_msg(ground_load(&g, ground_file("b.jsonl", lines)) == GRAFT_OK, "%s: %s", g.err.where, g.err.message);
    ck_assert_int_eq(graft_dataset_count(g.train), 2);
    ck_assert_str_eq(shown(&g, 1), "d[4]");
    ck_assert_int_eq(g.report.bad, 4);
    ck_assert_int_eq(g.report.records, 2);
    ck_assert_msg(g.report.first_bad && strstr(g.report.first_bad, "b.jsonl:2:2: record 2: "), "%s", g.report.first_bad);
    refuses(&g, ground_file("b.json", "[{\"prompt\":\"a\",\"response\":\"1\"},{oops,{}]"), "b.json:1:"); /* behind damage in a list nothing can be found */
    ck_assert_int_eq(ground_load(&g, ground_file("b.csv", "prompt,response\na,1x\nb,2,3\nc,4x\n")), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(g.train), 2);
    ck_assert_int_eq(g.report.bad, 1);
    ground_close(&g);
}
END_TEST

START_TEST(overlong)
{
    static const char lines[] = "{\"prompt\":\"one two three four five six\",\"response\":\"seven\"}\n{\"prompt\":\"a\",\"response\":\"1\"}\n";
    ground g = ground_open_with("overlong", "empty");
    g.o.cutoff_len = 4;
    ck_assert_int_eq(ground_load(&g, ground_file("o.jsonl", lines)), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(g.train), 2);
    ck_assert_int_eq(g.report.truncated, 1);
    ck_assert_int_gt(g.report.tokens_cut, 0);
    g.o.drop_overlong = 1;
    ck_assert_int_eq(ground_load(&g, ground_file("o.jsonl", lines)), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(g.train), 1);
    ck_assert_str_eq(shown(&g, 0), "a[1]");
    ck_assert_int_eq(g.report.truncated, 0);
    ck_assert_int_eq(g.report.dropped, 1);
    ck_assert_int_eq(g.report.overlong, 1);
    ck_assert_msg(g.report.first_drop && strstr(g.report.first_drop, "tokens, cutoff_len is 4"), "%s", g.report.first_drop);
    ground_close(&g);
}
END_TEST

/* | o n e eos t w o | as one sequence, and apart */
START_TEST(separate)
{
    ground g = ground_open_with("separate", "empty");
    const char *path = ground_file("s.txt", "one two three\nfour\nfive six seven eight\n");
    g.o.pretrain = 1, g.o.learn_pad = 1, g.o.cutoff_len = 5;
    ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
    const int64_t n = graft_dataset_count(g.train);
    ck_assert_int_ge(n, 2);
    ck_assert_int_eq(graft_dataset_at(g.train, 0).parts, 0);
    ck_assert_str_eq(shown(&g, 0), "[one two three<|im_end|>four]");
    g.o.separate_texts = 1;
    ck_assert_int_eq(ground_load(&g, path), GRAFT_OK);
    ck_assert_int_eq(graft_dataset_count(g.train), n);
    ck_assert_str_eq(shown(&g, 0), "[one two three<|im_end|>]|four"); /* a text's first token cannot be predicted */
    const graft_sample s = graft_dataset_at(g.train, 0);
    ck_assert_int_eq(s.parts, 2);
    ck_assert_int_eq(s.part_ends[0], 4);
    ck_assert_int_eq(s.part_ends[1], 5);
    ck_assert_int_eq(s.positions[3], 3);
    ck_assert_int_eq(s.positions[4], 0);
    for (int64_t i = 0; i < n; i++) {
        const graft_sample_size size = graft_dataset_measure(g.train, i);
        const graft_sample x = graft_dataset_at(g.train, i);
        ck_assert_int_eq(size.sequences, x.parts);
        ck_assert_int_eq(x.part_ends[x.parts - 1], 5);
    }
    ground_close(&g);
}
END_TEST

static void cases(TCase *tc)
{
    tcase_add_test(tc, separate);
    tcase_add_test(tc, without_entry);
    tcase_add_test(tc, preferences);
    tcase_add_test(tc, folders_and_patterns);
    tcase_add_test(tc, entries);
    tcase_add_test(tc, bad_records);
    tcase_add_test(tc, overlong);
}

int main(void) { return graft_test_main("formats", cases); }
