/* core_driver: scheduler cores driven by lines of JSON on stdin, for test/interop/test_differential.py.
 *
 * {"op": "begin", …} makes a new core. Any other line is an event, answered by a line that says what the core
 * asks for; or {"op": "look"}, answered by its whole state; or {"op": "orders"}. Keys are strings of up to 31
 * bytes; workers go by address, clients by name. Bad input ends the program: its one user is a test. */
#include "support/core_driver.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES (1u << 20)

static void configure(const json_t *line, struct scheduler_config *config)
{
    scheduler_config_init(config);
    config->check = true;
    config->worker_ttl = INFINITY;
    config->amm_start = json_is_true(json_object_get(line, "amm"));
    config->work_stealing = json_is_true(json_object_get(line, "stealing"));
    config->allowed_failures = (uint32_t)driver_real(line, "allowed_failures");
    double saturation = driver_real(line, "saturation");
    config->worker_saturation = saturation == 0 ? INFINITY : saturation;
    config->ahead_seconds = 0; /* stock knows no such thing */
    double timeout = driver_real(line, "no_workers_timeout");
    config->no_workers_timeout = timeout == 0 ? INFINITY : timeout;
}

static void begin(struct driver *driver)
{
    struct scheduler_config config;
    configure(driver->line, &config);
    scheduler_destroy(driver->s);
    driver->s = scheduler_create(&config);
    json_object_clear(driver->steals);
}

static json_t *apply(struct driver *driver)
{
    struct event event = {.time = driver_real(driver->line, "time"), .stimulus = SPAN("test")};
    if (!driver_make_event(driver, &event)) {
        fprintf(stderr, "core_driver: unknown event %s\n", driver_text(driver->line, "op"));
        exit(1);
    }
    scheduler_step(driver->s, &event, &driver->step);
    blob_unref(driver->blob);
    driver->blob = NULL;
    return driver_answer(driver);
}

static void print(json_t *answer)
{
    char *text = json_dumps(answer, JSON_REAL_PRECISION(17) | JSON_COMPACT);
    puts(text);
    fflush(stdout);
    free(text);
    json_decref(answer);
}

int main(void)
{
    static char buffer[LINE_MAX_BYTES];
    struct driver driver = {.steals = json_object()};
    arena_init(&driver.arena);
    step_init(&driver.step);
    while (fgets(buffer, sizeof buffer, stdin) != NULL) {
        driver.line = json_loads(buffer, 0, NULL);
        if (driver.line == NULL) {
            fprintf(stderr, "core_driver: not JSON: %s\n", buffer);
            return 1;
        }
        const char *op = driver_text(driver.line, "op");
        if (strcmp(op, "begin") == 0) {
            begin(&driver);
        } else if (strcmp(op, "look") == 0) {
            print(driver_look(&driver));
        } else if (strcmp(op, "orders") == 0) {
            print(driver_orders(&driver));
        } else {
            print(apply(&driver));
        }
        json_decref(driver.line);
        arena_reset(&driver.arena);
    }
    scheduler_destroy(driver.s);
    json_decref(driver.steals);
    step_fini(&driver.step);
    arena_fini(&driver.arena);
    return 0;
}
