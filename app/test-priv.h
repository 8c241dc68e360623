/* app/test-priv.h - between test.c, which judges, and test-report.c, which writes it down. */
#ifndef APP_TEST_PRIV_H
#define APP_TEST_PRIV_H
#include "app/app.h"

typedef struct TestResult {
    const char *verdict; /* pass, fail, panic, triple-fault, hang, timeout, error */
    int status;
    double seconds;
    const char *why;     /* one line for people */
    const char *matched; /* what --expect found, or NULL */
    const GString *console;
    const char *reason, *cause, *report; /* of the autopsy, or NULL */
} TestResult;
void test__report(const TestPlan *p, const TestResult *r); /* files that cannot be written are said on stderr */
#endif
