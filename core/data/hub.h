/* core/data/hub.h - models and datasets of a hub that are on this machine, in the folders that Python's tools share:
 *
 *   HF_HUB_CACHE (or HF_HOME/hub, or ~/.cache/huggingface/hub)
 *     models--ORG--NAME/refs/main                      the commit that the branch had when it was fetched
 *     models--ORG--NAME/snapshots/COMMIT/config.json   a link to ../../blobs/ETAG
 *     datasets--ORG--NAME/...                          the same
 *   MODELSCOPE_CACHE (or ~/.cache/modelscope/hub)
 *     models/ORG/NAME/config.json                      ModelScope's: no revisions; a dot in NAME is ___
 *     datasets/ORG/NAME/...                            the same
 *
 * Nothing here uses the network; core/cli/pull.h fetches. */
#ifndef CORE_DATA_HUB_H
#define CORE_DATA_HUB_H

#include "core/base/arena.h"

typedef enum graft_hub_kind { GRAFT_HUB_MODEL,
                              GRAFT_HUB_DATASET } graft_hub_kind;

typedef enum graft_hub_site { GRAFT_HUB_HUGGINGFACE,
                              GRAFT_HUB_MODELSCOPE } graft_hub_site;

/* Where a model's name belongs: ModelScope when USE_MODELSCOPE_HUB is on. */
graft_hub_site graft_hub_usual(void);
/* What a dataset's entry without a file names there (LLaMA-Factory's rule for hf_hub_url and ms_hub_url), or NULL. */
const char *graft_hub_of_entry(const graft_json *entry, graft_hub_site *site);
/* Can this be a name on the hub? "ORG/NAME", or "NAME" of the few old ones. */
int graft_hub_is_name(const char *text);
/* Is it a path of parts that stays inside its folder: no "..", no "/" in front, nothing hidden from a listing? */
int graft_hub_is_inside(const char *path);
/* A truth in the environment, as Python's hub library reads it: 1, ON, YES or TRUE. */
int graft_hub_env_on(const char *name);
/* Path of the repository's folder; NULL: out of memory, or nothing says where the home is. [graft_free] */
char *graft_hub_folder(graft_hub_site site, graft_hub_kind kind, const char *name);
/* The folder of its files at the revision (NULL: main; ModelScope's have none); NULL: it is not here. [graft_free] */
char *graft_hub_find(graft_hub_site site, graft_hub_kind kind, const char *name, const char *revision);
/* Does a model's or adapter's folder have all of its weights? */
int graft_hub_whole(const char *dir);

/* Which of a dataset's files make a split, as `datasets` chooses them: by the configs of its README, else by the words in the files' names.
 * names[n]: paths in the repository; readme: its text or NULL; subset, split ("train" when NULL), folder: of the dataset's entry. keep[n] is set. */
graft_status graft_hub_choose(const char *where, const char *readme, size_t readme_bytes, char *const *names, size_t n, const char *subset, const char *split, const char *folder, char *keep, graft_error *err);
/* The same for the files in a folder, as paths. The caller frees with graft_dir_list_free. */
graft_status graft_hub_files(const char *dir, const char *subset, const char *split, const char *folder, char ***files, size_t *n, graft_error *err);
/* Does the ending say that records are in it? */
int graft_hub_is_data(const char *name);

#endif
