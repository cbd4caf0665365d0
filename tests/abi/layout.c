/* tests/abi/layout.c - the released shape of every public struct (sdk/abi/1.0.json): size, alignment, each field's offset and size, and every constant.
 * A released struct never changes; what grows is behind a new name or at the end of a struct that callers size. `test_abi_layout --print` writes the
 * file's text for a release. */
#include "core/base/error.h"
#include "core/base/json.h"
#include "graft/graft.h"
#include "tests/support/support.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef struct field {
    const char *in, *name;
    size_t offset, bytes;
} field;
typedef struct shape {
    const char *name;
    size_t bytes, align;
} shape;
typedef struct constant {
    const char *name;
    int64_t value;
} constant;

#define S(type_)                               \
    {                                          \
#type_, sizeof(type_), _Alignof(type_) \
    }
#define F(type_, name_)                                                     \
    {                                                                       \
#type_, #name_, offsetof(type_, name_), sizeof(((type_ *)0)->name_) \
    }
#define C(name_)               \
    {                          \
#name_, (int64_t)name_ \
    }

static const shape shapes[] = {
    S(graft_error),
    S(graft_json),
    S(graft_config_api),
    S(graft_config),
    S(graft_writer_api),
    S(graft_writer),
    S(graft_host),
    S(graft_plugin),
    S(graft_value),
    S(graft_site),
    S(graft_param),
    S(graft_attr),
    S(graft_graph_api),
    S(graft_builder),
    S(graft_model_inputs),
    S(graft_model_outputs),
    S(graft_gguf_name),
    S(graft_gguf_key),
    S(graft_weight_layout),
    S(graft_config_word),
    S(graft_model_table),
    S(graft_adapter_files),
    S(graft_tensors_api),
    S(graft_tensors),
    S(graft_method_table),
    S(graft_record_api),
    S(graft_record),
    S(graft_source_api),
    S(graft_source),
    S(graft_cursor),
    S(graft_format_table),
    S(graft_device_info),
    S(graft_op_claim),
    S(graft_tensor),
    S(graft_instr),
    S(graft_program),
    S(graft_run),
    S(graft_backend_table),
    S(graft_backend_async_table),
    S(graft_backend_rates),
    S(graft_backend_probe_table),
};

static const field fields[] = {
    F(graft_error, size),
    F(graft_error, code),
    F(graft_error, where),
    F(graft_error, message),
    F(graft_json, type),
    F(graft_json, integral),
    F(graft_json, line),
    F(graft_json, column),
    F(graft_json, key),
    F(graft_json, key_bytes),
    F(graft_json, text),
    F(graft_json, bytes),
    F(graft_json, number),
    F(graft_json, integer),
    F(graft_json, count),
    F(graft_json, child),
    F(graft_json, next),
    F(graft_config_api, size),
    F(graft_config_api, integer),
    F(graft_config_api, number),
    F(graft_config_api, text),
    F(graft_config_api, value),
    F(graft_config_api, error),
    F(graft_config, api),
    F(graft_writer_api, size),
    F(graft_writer_api, null),
    F(graft_writer_api, flag),
    F(graft_writer_api, integer),
    F(graft_writer_api, number),
    F(graft_writer_api, text),
    F(graft_writer_api, texts),
    F(graft_writer_api, value),
    F(graft_writer, api),
    F(graft_host, size),
    F(graft_host, abi),
    F(graft_host, ctx),
    F(graft_host, alloc),
    F(graft_host, release),
    F(graft_host, log),
    F(graft_host, fail),
    F(graft_plugin, size),
    F(graft_plugin, abi_major),
    F(graft_plugin, abi_minor),
    F(graft_plugin, build_flags),
    F(graft_plugin, reserved),
    F(graft_plugin, kind),
    F(graft_plugin, name),
    F(graft_plugin, version),
    F(graft_plugin, init),
    F(graft_plugin, fini),
    F(graft_plugin, table),
    F(graft_value, id),
    F(graft_site, size),
    F(graft_site, role),
    F(graft_site, layer),
    F(graft_site, path),
    F(graft_site, in),
    F(graft_site, out),
    F(graft_site, weight),
    F(graft_site, layers),
    F(graft_site, bias),
    F(graft_site, residual),
    F(graft_param, size),
    F(graft_param, role),
    F(graft_param, start),
    F(graft_param, arg),
    F(graft_param, rank),
    F(graft_param, dims),
    F(graft_attr, key),
    F(graft_attr, type),
    F(graft_attr, i),
    F(graft_attr, r),
    F(graft_graph_api, size),
    F(graft_graph_api, push),
    F(graft_graph_api, pop),
    F(graft_graph_api, param),
    F(graft_graph_api, constant),
    F(graft_graph_api, op),
    F(graft_graph_api, output),
    F(graft_graph_api, linear),
    F(graft_graph_api, mark),
    F(graft_graph_api, shape),
    F(graft_graph_api, error),
    F(graft_graph_api, matches),
    F(graft_graph_api, experts),
    F(graft_graph_api, fits),
    F(graft_graph_api, penalty),
    F(graft_graph_api, detach),
    F(graft_builder, api),
    F(graft_model_inputs, size),
    F(graft_model_inputs, tokens),
    F(graft_model_inputs, positions),
    F(graft_model_inputs, sequences),
    F(graft_model_inputs, inv_freq),
    F(graft_model_inputs, rope_scale),
    F(graft_model_inputs, local_rope_scale),
    F(graft_model_inputs, local_inv_freq),
    F(graft_model_outputs, size),
    F(graft_model_outputs, hidden),
    F(graft_model_outputs, head),
    F(graft_model_outputs, softcap),
    F(graft_model_outputs, scale),
    F(graft_gguf_name, file),
    F(graft_gguf_name, weight),
    F(graft_gguf_name, unpermute),
    F(graft_gguf_key, file),
    F(graft_gguf_key, config),
    F(graft_weight_layout, weight),
    F(graft_weight_layout, file),
    F(graft_weight_layout, flags),
    F(graft_config_word, file),
    F(graft_config_word, config),
    F(graft_model_table, size),
    F(graft_model_table, build),
    F(graft_model_table, gguf_names),
    F(graft_model_table, gguf_keys),
    F(graft_model_table, class_name),
    F(graft_model_table, layouts),
    F(graft_model_table, config_words),
    F(graft_model_table, prefix),
    F(graft_model_table, defaults),
    F(graft_adapter_files, size),
    F(graft_adapter_files, config),
    F(graft_adapter_files, weights),
    F(graft_adapter_files, prefix),
    F(graft_tensors_api, size),
    F(graft_tensors_api, read),
    F(graft_tensors_api, write),
    F(graft_tensors_api, tokens),
    F(graft_tensors_api, gradient),
    F(graft_tensors_api, kept),
    F(graft_tensors, api),
    F(graft_tensors, seed),
    F(graft_tensors, n_sites),
    F(graft_tensors, sites),
    F(graft_tensors, updates),
    F(graft_method_table, size),
    F(graft_method_table, open),
    F(graft_method_table, close),
    F(graft_method_table, trains),
    F(graft_method_table, linear),
    F(graft_method_table, merge),
    F(graft_method_table, extend_kv),
    F(graft_method_table, extend_input),
    F(graft_method_table, after),
    F(graft_method_table, on_step),
    F(graft_method_table, files),
    F(graft_method_table, save),
    F(graft_method_table, owns),
    F(graft_method_table, attention),
    F(graft_method_table, merge_bias),
    F(graft_method_table, offset),
    F(graft_method_table, rate),
    F(graft_method_table, start),
    F(graft_method_table, file_name),
    F(graft_method_table, stored),
    F(graft_method_table, changes),
    F(graft_method_table, embed),
    F(graft_method_table, experts),
    F(graft_method_table, file_part),
    F(graft_method_table, file_rows),
    F(graft_method_table, after_update),
    F(graft_method_table, watches),
    F(graft_record_api, size),
    F(graft_record_api, turn),
    F(graft_record_api, flag),
    F(graft_record_api, drop),
    F(graft_record, api),
    F(graft_source_api, size),
    F(graft_source_api, read),
    F(graft_source_api, row),
    F(graft_source_api, tell),
    F(graft_source_api, seek),
    F(graft_source_api, place),
    F(graft_source, api),
    F(graft_cursor, bytes),
    F(graft_format_table, size),
    F(graft_format_table, sniff),
    F(graft_format_table, open),
    F(graft_format_table, next),
    F(graft_format_table, tell),
    F(graft_format_table, seek),
    F(graft_format_table, close),
    F(graft_device_info, size),
    F(graft_device_info, name),
    F(graft_device_info, memory_total),
    F(graft_device_info, memory_free),
    F(graft_device_info, score),
    F(graft_device_info, reason),
    F(graft_op_claim, op),
    F(graft_op_claim, dtypes),
    F(graft_op_claim, compute),
    F(graft_tensor, dtype),
    F(graft_tensor, place),
    F(graft_tensor, rank),
    F(graft_tensor, frozen),
    F(graft_tensor, dims),
    F(graft_tensor, offset),
    F(graft_tensor, bytes),
    F(graft_tensor, name),
    F(graft_instr, op),
    F(graft_instr, name),
    F(graft_instr, n_in),
    F(graft_instr, n_out),
    F(graft_instr, n_attr),
    F(graft_instr, in),
    F(graft_instr, out),
    F(graft_instr, attr),
    F(graft_program, size),
    F(graft_program, n_tensors),
    F(graft_program, n_instrs),
    F(graft_program, tensors),
    F(graft_program, instrs),
    F(graft_program, place_bytes),
    F(graft_program, capacity),
    F(graft_program, compute),
    F(graft_program, seed),
    F(graft_run, size),
    F(graft_run, extent),
    F(graft_run, places),
    F(graft_run, step),
    F(graft_run, training),
    F(graft_backend_table, size),
    F(graft_backend_table, devices),
    F(graft_backend_table, open),
    F(graft_backend_table, close),
    F(graft_backend_table, ops),
    F(graft_backend_table, alloc),
    F(graft_backend_table, release),
    F(graft_backend_table, upload),
    F(graft_backend_table, download),
    F(graft_backend_table, compile),
    F(graft_backend_table, discard),
    F(graft_backend_table, run),
    F(graft_backend_table, sync),
    F(graft_backend_table, workspace),
    F(graft_backend_async_table, size),
    F(graft_backend_async_table, queues),
    F(graft_backend_async_table, pin),
    F(graft_backend_async_table, unpin),
    F(graft_backend_async_table, send),
    F(graft_backend_async_table, fetch),
    F(graft_backend_async_table, copy),
    F(graft_backend_async_table, peer),
    F(graft_backend_async_table, record),
    F(graft_backend_async_table, wait),
    F(graft_backend_async_table, finish),
    F(graft_backend_async_table, done),
    F(graft_backend_async_table, drop),
    F(graft_backend_async_table, lost),
    F(graft_backend_rates, size),
    F(graft_backend_rates, flops),
    F(graft_backend_rates, matmul),
    F(graft_backend_rates, memory),
    F(graft_backend_rates, upload),
    F(graft_backend_rates, download),
    F(graft_backend_rates, driver),
    F(graft_backend_rates, bf16),
    F(graft_backend_rates, fp16),
    F(graft_backend_probe_table, size),
    F(graft_backend_probe_table, driver),
    F(graft_backend_probe_table, rates),
};

static const constant constants[] = {
    C(GRAFT_OK),
    C(GRAFT_BAD_INPUT),
    C(GRAFT_UNSUPPORTED),
    C(GRAFT_NO_MEMORY),
    C(GRAFT_IO),
    C(GRAFT_DEVICE),
    C(GRAFT_CANCELLED),
    C(GRAFT_INTERNAL),
    C(GRAFT_JSON_NULL),
    C(GRAFT_JSON_BOOL),
    C(GRAFT_JSON_NUMBER),
    C(GRAFT_JSON_TEXT),
    C(GRAFT_JSON_ARRAY),
    C(GRAFT_JSON_OBJECT),
    C(GRAFT_ABI_MAJOR),
    C(GRAFT_ABI_MINOR),
    C(GRAFT_BUILD_ASAN),
    C(GRAFT_BUILD_TSAN),
    C(GRAFT_BUILD_DEBUG),
    C(GRAFT_DIM_TOKENS),
    C(GRAFT_DIM_SEQUENCES),
    C(GRAFT_DIM_LABELLED),
    C(GRAFT_DIM_CACHED),
    C(GRAFT_SYMBOLS),
    C(GRAFT_MAX_RANK),
    C(GRAFT_F32),
    C(GRAFT_BF16),
    C(GRAFT_F16),
    C(GRAFT_I32),
    C(GRAFT_I8),
    C(GRAFT_NF4),
    C(GRAFT_Q4_0),
    C(GRAFT_Q4_1),
    C(GRAFT_Q8_0),
    C(GRAFT_NF4_DOUBLE),
    C(GRAFT_INT8),
    C(GRAFT_ROLE_OTHER),
    C(GRAFT_ROLE_EMBED),
    C(GRAFT_ROLE_NORM),
    C(GRAFT_ROLE_HEAD),
    C(GRAFT_ROLE_ATTN_Q),
    C(GRAFT_ROLE_ATTN_K),
    C(GRAFT_ROLE_ATTN_V),
    C(GRAFT_ROLE_ATTN_QKV),
    C(GRAFT_ROLE_ATTN_O),
    C(GRAFT_ROLE_ATTN),
    C(GRAFT_ROLE_MLP_GATE),
    C(GRAFT_ROLE_MLP_UP),
    C(GRAFT_ROLE_MLP_GATE_UP),
    C(GRAFT_ROLE_MLP_DOWN),
    C(GRAFT_ROLE_MLP),
    C(GRAFT_ROLE_ROUTER),
    C(GRAFT_ROLE_EXPERT),
    C(GRAFT_ROLE_BLOCK),
    C(GRAFT_ROLE_BUFFER),
    C(GRAFT_START_CHECKPOINT),
    C(GRAFT_START_ZERO),
    C(GRAFT_START_ONE),
    C(GRAFT_START_NORMAL),
    C(GRAFT_START_KAIMING_UNIFORM),
    C(GRAFT_STORED_TRANSPOSED),
    C(GRAFT_STORED_STACKED),
    C(GRAFT_STORED_IGNORED),
    C(GRAFT_ATTR_INT),
    C(GRAFT_ATTR_REAL),
    C(GRAFT_STEP_REPLAN),
    C(GRAFT_SYSTEM),
    C(GRAFT_USER),
    C(GRAFT_ASSISTANT),
    C(GRAFT_OBSERVATION),
    C(GRAFT_FUNCTION),
    C(GRAFT_TOOLS),
    C(GRAFT_CHOSEN),
    C(GRAFT_REJECTED),
    C(GRAFT_PLAIN),
    C(GRAFT_PLACE_WEIGHT),
    C(GRAFT_PLACE_STATE),
    C(GRAFT_PLACE_ARENA),
    C(GRAFT_PLACE_INPUT),
    C(GRAFT_PLACE_OUTPUT),
    C(GRAFT_PLACE_CONSTANT),
    C(GRAFT_PLACES),
};

enum { SHAPES = sizeof shapes / sizeof *shapes,
       FIELDS = sizeof fields / sizeof *fields,
       CONSTANTS = sizeof constants / sizeof *constants };

static const graft_json *released(graft_arena *a)
{
    graft_error err = GRAFT_ERROR_INIT;
    const graft_json *v;
    ck_assert_ok(graft_json_parse_file(a, GRAFT_SOURCE_DIR "/sdk/abi/1.0.json", 1 << 20, GRAFT_JSON_STRICT_KEYS, &v, &err));
    return v;
}

static int64_t number(const graft_json *object, const char *key)
{
    const graft_json *v = graft_json_get(object, key);
    return v ? v->integer : -1;
}

START_TEST(structs_are_as_released)
{
    graft_arena *a = graft_arena_new();
    const graft_json *structs = graft_json_get(released(a), "structs");
    ck_assert_int_eq(structs->count, SHAPES);
    for (size_t i = 0; i < SHAPES; i++) {
        const shape *s = &shapes[i];
        const graft_json *was = graft_json_get(structs, s->name);
        ck_assert_msg(was != NULL, "%s: not in the released list", s->name);
        ck_assert_msg(number(was, "bytes") == (int64_t)s->bytes, "%s: released with %d bytes, now %zu", s->name, (int)number(was, "bytes"), s->bytes);
        ck_assert_msg(number(was, "align") == (int64_t)s->align, "%s: released with alignment %d, now %zu", s->name, (int)number(was, "align"), s->align);
    }
    graft_arena_free(a);
}
END_TEST

START_TEST(fields_are_as_released)
{
    graft_arena *a = graft_arena_new();
    const graft_json *structs = graft_json_get(released(a), "structs");
    int64_t listed = 0;
    for (const graft_json *s = structs->child; s; s = s->next) listed += graft_json_get(s, "fields")->count;
    for (size_t i = 0; i < FIELDS; i++) {
        const field *f = &fields[i];
        const graft_json *was = graft_json_get(graft_json_get(graft_json_get(structs, f->in), "fields"), f->name);
        ck_assert_msg(was && was->count == 2, "%s.%s: not in the released list", f->in, f->name);
        ck_assert_msg(was->child->integer == (int64_t)f->offset, "%s.%s: released at offset %d, now %zu", f->in, f->name, (int)was->child->integer, f->offset);
        ck_assert_msg(was->child->next->integer == (int64_t)f->bytes, "%s.%s: released with %d bytes, now %zu", f->in, f->name, (int)was->child->next->integer, f->bytes);
    }
    ck_assert_int_eq(listed, FIELDS);
    graft_arena_free(a);
}
END_TEST

/* Between two fields, and after the last, is less room than an alignment: no field is missing from the list above. */
START_TEST(fields_fill_their_structs)
{
    for (size_t i = 0; i < SHAPES; i++) {
        size_t end = 0;
        for (size_t k = 0; k < FIELDS; k++) {
            if (strcmp(fields[k].in, shapes[i].name)) continue;
            ck_assert_msg(fields[k].offset >= end && fields[k].offset - end < shapes[i].align, "%s.%s: a field is missing before it", shapes[i].name, fields[k].name);
            end = fields[k].offset + fields[k].bytes;
        }
        ck_assert_msg(end && shapes[i].bytes - end < shapes[i].align, "%s: a field is missing at its end", shapes[i].name);
    }
}
END_TEST

START_TEST(constants_are_as_released)
{
    graft_arena *a = graft_arena_new();
    const graft_json *was = graft_json_get(released(a), "constants");
    ck_assert_int_eq(was->count, CONSTANTS);
    for (size_t i = 0; i < CONSTANTS; i++) {
        const graft_json *v = graft_json_get(was, constants[i].name);
        ck_assert_msg(v != NULL, "%s: not in the released list", constants[i].name);
        ck_assert_msg(v->integer == constants[i].value, "%s: released as %d, now %d", constants[i].name, (int)v->integer, (int)constants[i].value);
    }
    ck_assert_uint_eq(sizeof(graft_plugin), 64); /* the door, frozen for ever */
    graft_arena_free(a);
}
END_TEST

static int print(void)
{
    printf("{\n  \"abi\": \"%d.%d\",\n  \"structs\": {", GRAFT_ABI_MAJOR, GRAFT_ABI_MINOR);
    for (size_t i = 0; i < SHAPES; i++) {
        printf("%s\n    \"%s\": { \"bytes\": %zu, \"align\": %zu, \"fields\": {", i ? "," : "", shapes[i].name, shapes[i].bytes, shapes[i].align);
        const char *comma = "";
        for (size_t k = 0; k < FIELDS; k++) {
            if (strcmp(fields[k].in, shapes[i].name)) continue;
            printf("%s \"%s\": [%zu, %zu]", comma, fields[k].name, fields[k].offset, fields[k].bytes);
            comma = ",";
        }
        printf(" } }");
    }
    printf("\n  },\n  \"constants\": {");
    for (size_t i = 0; i < CONSTANTS; i++) printf("%s\n    \"%s\": %lld", i ? "," : "", constants[i].name, (long long)constants[i].value);
    printf("\n  }\n}\n");
    return 0;
}

static void cases(TCase *tc)
{
    tcase_add_test(tc, structs_are_as_released);
    tcase_add_test(tc, fields_are_as_released);
    tcase_add_test(tc, fields_fill_their_structs);
    tcase_add_test(tc, constants_are_as_released);
}

int main(int argc, char **argv) { return argc == 2 && !strcmp(argv[1], "--print") ? print() : graft_test_main("layout", cases); }
