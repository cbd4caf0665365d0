/* core/base/yaml.h - YAML (libyaml) into graft_json nodes, resolved as LLaMA-Factory reads it: YAML 1.1 plus floats like 1e-4. */
#ifndef CORE_BASE_YAML_H
#define CORE_BASE_YAML_H

#include "core/base/arena.h"

/* One document; an empty one gives an empty object. YAML 1.1 scalars: 010 is 8, 1_000 is 1000, 1:30 is 90, yes/on true, ~ and empty null; 1e-4 is a number; "none" is text.
 * Merge keys (<<) are followed. Duplicate keys, depth > 64, more than 1000 aliases or 1e6 nodes are errors with line and column. */
graft_status graft_yaml_parse(graft_arena *a, const char *name, const char *text, size_t bytes, const graft_json **out, graft_error *err);
graft_status graft_yaml_parse_file(graft_arena *a, const char *path, const graft_json **out, graft_error *err);

/* A word of the command line (key=VALUE) as the YAML scalar or flow value it spells: OmegaConf's grammar, [a,b] and {a: b} included; "" is null. */
graft_status graft_yaml_scalar(graft_arena *a, const char *name, const char *word, const graft_json **out, graft_error *err);

#endif
