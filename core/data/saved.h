/* core/data/saved.h - samples that LLaMA-Factory tokenised and saved under its tokenized_path: what save_to_disk of `datasets` writes.
 *
 *   DIR/dataset_dict.json                    {"splits": ["train", "validation"]}
 *   DIR/train/data-00000-of-00001.arrow      rows of input_ids, attention_mask, labels; DIR/validation the same */
#ifndef CORE_DATA_SAVED_H
#define CORE_DATA_SAVED_H

#include "core/data/dataset.h"

int graft_saved_is(const char *dir);
/* All samples of a split, in memory; *out NULL: it is not there. tokens: ids are below. */
graft_status graft_saved_load(const char *dir, const char *split, int64_t tokens, graft_dataset **out, graft_error *err);

#endif
