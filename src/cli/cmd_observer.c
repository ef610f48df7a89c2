/* cmd_observer.c: `cask observer`: the process that shows. The scheduler starts it; people do not. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "observer/observer.h"

int cmd_observer(int argc, char **argv)
{
    struct options options;
    int exit_code = options_parse(COMMAND_OBSERVER, argc, argv, &options);
    if (exit_code >= 0) {
        return exit_code;
    }
    options_fini(&options);
#ifdef CASK_HAVE_OBSERVER
    return observer_run();
#else
    fprintf(stderr, "cask observer: this cask was built without a dashboard\n");
    return 1;
#endif
}
