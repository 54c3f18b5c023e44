/* SPDX-License-Identifier: Apache-2.0 */
/* lockbridge.conf: it is the operator's, but an editor's crash or a bad disk may have written it. */
#include <stdlib.h>
#include <string.h>

#include "core/crypto.h"
#include "link/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libconfig 1.5 forgets the beginning of a text that never ends: its leak, and one per bad file. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct config config;
	char error[256] = "";
	int r = config_parse("fuzz.conf", span_of(data, size), &config, error, sizeof(error));

	if (r == 0 && (config.nbrokers == 0 || !id_valid(span_str(config.gateway))))
		abort();
	if (r < 0 && strncmp(error, "fuzz.conf:", 10) != 0)
		abort();
	return 0;
}
