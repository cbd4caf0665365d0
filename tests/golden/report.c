/* tests/golden/report.c - the largest deviation per quantity of a case, one line each. */
#include "tests/golden/golden.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_LINES = 64 };

typedef struct line {
    char name[96];
    double worst, tolerance;
    int failed, exact;
    char note[512];
} line;

static struct {
    char name[512];
    line lines[MAX_LINES];
    int n, cases, failed_cases, skipped, passed_quantities, failed_quantities;
} report;

static line *find(const char *quantity)
{
    for (int i = 0; i < report.n; i++)
        if (!strcmp(report.lines[i].name, quantity)) return &report.lines[i];
    line *l = &report.lines[report.n < MAX_LINES - 1 ? report.n++ : MAX_LINES - 1];
    *l = (line){.failed = 0};
    snprintf(l->name, sizeof l->name, "%s", quantity);
    return l;
}

void golden_case(const char *name)
{
    golden_flush();
    snprintf(report.name, sizeof report.name, "%s", name);
}

void golden_check(const char *quantity, double deviation, double tolerance)
{
    line *l = find(quantity);
    if (!(deviation <= tolerance)) l->failed = 1;
    if (!(deviation <= l->worst)) l->worst = deviation;
    l->tolerance = tolerance;
}

void golden_equal(const char *quantity, int equal)
{
    line *l = find(quantity);
    l->exact = 1;
    if (!equal) l->failed = 1, l->worst += 1.0;
}

void golden_fail(const char *quantity, const char *fmt, ...)
{
    line *l = find(quantity);
    va_list args;
    va_start(args, fmt);
    vsnprintf(l->note, sizeof l->note, fmt, args);
    va_end(args);
    l->failed = 1;
}

void golden_error(const char *quantity, const graft_error *err) { golden_fail(quantity, "%s%s%s", err->where, err->where[0] ? ": " : "", err->message); }

void golden_skip(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    printf("skipped: ");
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
    report.skipped++;
}

void golden_flush(void)
{
    if (!report.n) return;
    int failed = 0;
    printf("%s\n", report.name);
    for (int i = 0; i < report.n; i++) {
        const line *l = &report.lines[i];
        if (l->note[0]) printf("  %-28s FAILED: %s\n", l->name, l->note);
        else if (l->exact) printf("  %-28s %s\n", l->name, l->failed ? "FAILED: differs" : "equal");
        else printf("  %-28s %.2e of %.0e%s\n", l->name, l->worst, l->tolerance, l->failed ? "  FAILED" : "");
        failed |= l->failed;
        if (l->failed) report.failed_quantities++;
        else report.passed_quantities++;
    }
    report.cases++;
    report.failed_cases += failed;
    report.n = 0;
    fflush(stdout);
}

int golden_summary(void)
{
    golden_flush();
    printf("%d cases, %d quantities within tolerance, %d beyond, %d cases failed, %d skipped\n", report.cases, report.passed_quantities, report.failed_quantities,
           report.failed_cases, report.skipped);
    return report.failed_cases || !(report.cases + report.skipped) ? 1 : 0;
}

double golden_max_abs(const float *got, const float *want, int64_t n)
{
    double worst = 0.0;
    for (int64_t i = 0; i < n; i++) {
        if (got[i] == want[i] || (isnan(got[i]) && isnan(want[i]))) continue;
        const double d = fabs((double)got[i] - (double)want[i]);
        if (isnan(d)) return INFINITY;
        if (d > worst) worst = d;
    }
    return worst;
}
