/* fuzz_address.c: any text as an address; what is taken prints to an address that reads the same. */
#include "wire/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct address address;
    struct address again;
    struct text text = {0};
    struct span host = address_host(span_of(data, size));
    ASSERT(host.size <= size);
    if (address_parse(span_of(data, size), ADDRESS_TCP, 8786, &address) == OK) {
        address_print(&text, &address);
        int code = address_parse(text_span(&text), ADDRESS_TLS, 0, &again);
        ASSERT(code == OK);
        ASSERT(again.scheme == address.scheme);
        ASSERT(again.port == address.port);
        ASSERT(again.has_port == address.has_port);
        ASSERT(strcmp(again.host, address.host) == 0);
    }
    text_fini(&text);
    return 0;
}
