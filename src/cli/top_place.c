/* top_place.c: see top_place.h. */
#include "cli/top_place.h"

#include "base/error.h"
#include "cli/answer.h"
#include "node/config.h"
#include "wire/address.h"

/* The scheduler says on which port its dashboard is; the host is its own. */
static int ask_place(struct asker *asker, struct top_place *place, struct text *why)
{
    struct msg_identity identity;
    struct span answer;
    struct address address;
    message_defaults(MESSAGE_IDENTITY, &identity);
    identity.n_workers = 0;
    int code = asker_call(asker, MESSAGE_IDENTITY, &identity, &answer, why);
    if (code != OK) {
        return code;
    }
    double port = answer_number(answer_field(answer, "services"), "dashboard", 0);
    if (port < 1 || port > UINT16_MAX ||
        address_parse(span_of_text(asker_address(asker)), ADDRESS_TCP, 8786, &address) != OK) {
        text_printf(why, "%s has no dashboard (see cask.dashboard.process)", asker_address(asker));
        return ERR_CONFIG;
    }
    text_add_cstr(&place->host, address.host);
    place->port = (int)port;
    return OK;
}

/* Token and certificates are those of the dashboard's settings. */
static int read_settings(struct top_place *place, const char *ca, bool is_url, struct text *why)
{
    struct config *config;
    int code = config_create(&config, why);
    if (code != OK) {
        return code;
    }
    if (place->token.size == 0) {
        text_add_cstr(&place->token, config_text(config, "cask.dashboard.token", ""));
    }
    text_add_cstr(
        &place->ca,
        ca != NULL ? ca : config_text(config, "distributed.scheduler.dashboard.tls.ca-file", ""));
    if (!is_url) {
        place->is_tls =
            config_text(config, "distributed.scheduler.dashboard.tls.cert", NULL) != NULL;
    }
    config_destroy(config);
    return OK;
}

int top_place_find(const struct ask_options *where, const char *ca, struct top_place *place,
                   struct text *address, struct text *why)
{
    bool is_url = where->address != NULL && strstr(where->address, "http") == where->address;
    struct asker *asker;
    int code;
    if (is_url) {
        code = top_place_parse(where->address, place) ? OK : ERR_ADDRESS;
        text_printf(code == OK ? address : why,
                    code == OK ? "%.*s" : "'%.*s' is no URL of a dashboard",
                    (int)strcspn(where->address, "?#"), where->address);
    } else {
        code = asker_create(where, &asker, why);
        if (code == OK) {
            text_add_cstr(address, asker_address(asker));
            code = ask_place(asker, place, why);
            asker_destroy(asker);
        }
    }
    return code == OK ? read_settings(place, ca, is_url, why) : code;
}
