/* core/model/rope.c - rotary frequencies with every scaling that config.json may ask for (transformers' modeling_rope_utils.py).
 *
 *   default   f_j = theta^(-2j/d)                              d: rotary dimensions of a head, j < d/2
 *   linear    f_j / factor                                      dynamic: as default up to max_position_embeddings
 *   llama3    long waves / factor, short ones kept, between them a blend by wavelength
 *   yarn      f_j / factor and f_j blended by dimension; cos and sin times attention_factor (default 0.1 ln factor + 1)
 *   longrope  f_j / short_factor[j]; cos and sin times sqrt(1 + ln factor / ln original)
 *
 * Rounded to f32 where torch does, so that angles at far positions agree. */
#include "core/base/error.h"
#include "core/model/hfconfig.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

enum { MAX_HEAD = 65536 };

typedef struct rope {
    double theta, factor;
    int64_t d, positions, original;
    const graft_config *scaling;
    float *f;
    double scale;
} rope;

static void base_frequencies(const rope *r)
{
    for (int64_t j = 0; j < r->d / 2; j++) r->f[j] = 1.0f / (float)pow(r->theta, (double)((float)(2 * j) / (float)r->d));
}

static void scale_linear(rope *r)
{
    for (int64_t j = 0; j < r->d / 2; j++) r->f[j] /= (float)r->factor;
}

static void scale_llama3(rope *r)
{
    const double low = graft_real(r->scaling, "low_freq_factor", -1.0, 1e-6, 1e9), high = graft_real(r->scaling, "high_freq_factor", -1.0, 1e-6, 1e9);
    if (!(high > low)) {
        r->scaling->api->error(r->scaling, "high_freq_factor", "must be greater than low_freq_factor");
        return;
    }
    const double original = (double)r->original;
    for (int64_t j = 0; j < r->d / 2; j++) {
        const float wave = (float)(2 * PI) / r->f[j], smooth = ((float)original / wave - (float)low) / (float)(high - low);
        const float slow = r->f[j] / (float)r->factor;
        if (wave > (float)(original / low)) r->f[j] = slow;
        else if (wave >= (float)(original / high))
            r->f[j] = (1 - smooth) * r->f[j] / (float)r->factor + smooth * r->f[j];
    }
}

static double mscale(double factor, double by) { return factor <= 1 ? 1.0 : 0.1 * by * log(factor) + 1.0; }

/* The dimension that turns `rotations` times within the original length. */
static double correction(const rope *r, double rotations) { return (double)r->d * log((double)r->original / (rotations * 2 * PI)) / (2 * log(r->theta)); }

static void scale_yarn(rope *r)
{
    const double by = graft_real(r->scaling, "mscale", 0.0, 0.0, 1e6), all = graft_real(r->scaling, "mscale_all_dim", 0.0, 0.0, 1e6);
    r->scale = by > 0 && all > 0 ? mscale(r->factor, by) / mscale(r->factor, all) : mscale(r->factor, 1);
    r->scale = graft_real(r->scaling, "attention_factor", r->scale, 0.0, 1e6);
    const double fast = graft_real(r->scaling, "beta_fast", 32.0, 1e-6, 1e9), slow = graft_real(r->scaling, "beta_slow", 1.0, 1e-6, 1e9);
    double low = correction(r, fast), high = correction(r, slow);
    if (graft_flag(r->scaling, "truncate", 1)) low = floor(low), high = ceil(high);
    low = fmax(low, 0), high = fmin(high, (double)r->d - 1);
    if (low == high) high += 0.001;
    for (int64_t j = 0; j < r->d / 2; j++) {
        const float power = (float)pow(r->theta, (double)((float)(2 * j) / (float)r->d));
        const float keep = 1.0f - fminf(fmaxf(((float)j - (float)low) / (float)(high - low), 0.0f), 1.0f);
        r->f[j] = 1.0f / ((float)r->factor * power) * (1.0f - keep) + 1.0f / power * keep;
    }
}

static void scale_longrope(rope *r)
{
    const double factor = r->factor > 1 ? sqrt(1 + log(r->factor) / log(r->original > 1 ? (double)r->original : 2.0)) : 1.0;
    r->scale = graft_real(r->scaling, "attention_factor", factor, 0.0, 1e6);
    const graft_json *list = r->scaling->api->value(r->scaling, "short_factor"), *v = list && list->type == GRAFT_JSON_ARRAY ? list->child : NULL;
    if (!v || list->count != r->d / 2) {
        r->scaling->api->error(r->scaling, "short_factor", "must be a list with one number for each pair of rotary dimensions");
        return;
    }
    for (int64_t j = 0; j < r->d / 2; j++, v = v->next) {
        if (v->type != GRAFT_JSON_NUMBER || !(v->number > 0)) {
            r->scaling->api->error(r->scaling, "short_factor", "must hold positive numbers only");
            return;
        }
        r->f[j] = 1.0f / ((float)v->number * (float)pow(r->theta, (double)((float)(2 * j) / (float)r->d)));
    }
}

static void scale_by_type(rope *r, const char *type)
{
    const int needs_factor = !strcmp(type, "linear") || !strcmp(type, "llama3");
    r->original = graft_dim(r->scaling, "original_max_position_embeddings", r->positions);
    r->factor = graft_real(r->scaling, "factor", needs_factor ? -1.0 : (double)r->positions / (double)r->original, 1e-6, 1e9);
    if (!strcmp(type, "linear")) scale_linear(r);
    else if (!strcmp(type, "llama3")) scale_llama3(r);
    else if (!strcmp(type, "yarn")) scale_yarn(r);
    else if (!strcmp(type, "longrope")) scale_longrope(r);
    else if (strcmp(type, "dynamic") && strcmp(type, "default"))
        r->scaling->api->error(r->scaling, "rope_type", "is none of default, linear, dynamic, llama3, yarn, longrope");
}

static graft_status frequencies(graft_arena *a, const graft_config *c, const char *theta, const char *settings, float **inv_freq, int64_t *n, double *scale, graft_error *err)
{
    *inv_freq = NULL, *n = 0, *scale = 1.0;
    if (!c->api->value(c, "head_dim") && !c->api->value(c, "hidden_size")) return GRAFT_OK;
    const int64_t hidden = graft_dim(c, "hidden_size", 0), heads = graft_dim(c, "num_attention_heads", 0);
    const int64_t head = c->api->integer(c, "head_dim", hidden / heads > 0 ? hidden / heads : 1, 1, MAX_HEAD);
    const double partial = graft_real(c, "partial_rotary_factor", 1.0, 0.0, 1.0);
    rope r = {.theta = graft_real(c, theta, 10000.0, 1.0 + 1e-9, 1e15), .d = (int64_t)((double)head * partial) / 2 * 2, .positions = graft_dim(c, "max_position_embeddings", 2048), .factor = 1, .scale = 1};
    r.f = graft_arena_alloc(a, (size_t)(r.d / 2 + 1) * sizeof *r.f);
    if (!r.f) return graft_fail(err, GRAFT_NO_MEMORY, graft_config_name(c), "no memory for rotary frequencies");
    base_frequencies(&r);
    const graft_json *scaling = c->api->value(c, settings);
    if (scaling && scaling->type != GRAFT_JSON_OBJECT) c->api->error(c, settings, "must be an object or null");
    graft_status status = graft_config_check(c, err);
    if (!status && scaling) {
        r.scaling = graft_config_new(a, graft_config_name(c), scaling);
        if (!r.scaling) return graft_fail(err, GRAFT_NO_MEMORY, graft_config_name(c), "no memory for rotary frequencies");
        scale_by_type(&r, graft_text(r.scaling, "rope_type", "default"));
        status = graft_config_check(r.scaling, err);
    }
    *inv_freq = r.f, *n = r.d / 2, *scale = r.scale;
    return status;
}

graft_status graft_rope_frequencies(graft_arena *a, const graft_config *c, float **inv_freq, int64_t *n, double *scale, graft_error *err)
{
    return frequencies(a, c, "rope_theta", "rope_scaling", inv_freq, n, scale, err);
}

graft_status graft_rope_local(graft_arena *a, const graft_config *c, float **inv_freq, int64_t *n, double *scale, graft_error *err)
{
    *inv_freq = NULL, *n = 0, *scale = 1.0;
    return c->api->value(c, "local_rope_theta") ? frequencies(a, c, "local_rope_theta", "local_rope_scaling", inv_freq, n, scale, err) : GRAFT_OK;
}
