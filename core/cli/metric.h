/* core/cli/metric.h - how like a text is to the one that was expected: BLEU-4 and ROUGE, from 0 to 100, as LLaMA-Factory reports them.
 *
 *   bleu-4    of characters, brevity penalty, smoothing of NIST (a count of 0 becomes 1/2, 1/4 ..): equal to nltk's
 *   rouge-n   F1 of the sets of n words; rouge-l: F1 of the longest common subsequence of words
 *
 * Words are runs of letters and digits, and single other characters. Chinese characters stand for themselves: LLaMA-Factory cuts Chinese into words with
 * a dictionary, so its ROUGE of Chinese differs. BLEU and other languages do not. */
#ifndef CORE_CLI_METRIC_H
#define CORE_CLI_METRIC_H

#include "graft/base.h"

typedef struct graft_likeness {
    double bleu4, rouge1, rouge2, rougel; /* rounded to four decimals */
} graft_likeness;

graft_status graft_likeness_of(const char *text, size_t bytes, const char *expected, size_t expected_bytes, graft_likeness *out, graft_error *err);

#endif
