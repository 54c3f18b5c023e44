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

/* What was taken is written so that it is taken again and says the same. */
static void write_again(const struct config *config)
{
	static struct config again;
	char error[256], *text = config_encode(config);

	if (!text || config_parse("fuzz.conf", span_str(text), &again, error, sizeof(error)) < 0 ||
	    memcmp(&again, config, sizeof(again)) != 0)
		abort();
	free(text);
}

/* A lock in and out again: refused, or nothing but the lock has changed, as the parser sees it. */
static void change(struct span text, const struct config *config)
{
	static struct config again;
	struct config_lock lock = {.id = "fuzz-lock-that-is-new", .key = {0xf0, 1, 2, 3}};
	char error[256], *with = NULL, *without = NULL;

	if (config_add_lock("fuzz.conf", text, &lock, &with, error, sizeof(error)) < 0)
		return;
	if (config_remove_lock("fuzz.conf", span_str(with), lock.id, &without, error,
			       sizeof(error)) < 0 ||
	    config_parse("fuzz.conf", span_str(without), &again, error, sizeof(error)) < 0 ||
	    memcmp(&again, config, sizeof(again)) != 0)
		abort();
	free(with);
	free(without);
	if (config->nlocks > 0 && config_remove_lock("fuzz.conf", text, config->locks[0].id,
						     &without, error, sizeof(error)) == 0)
		free(without);
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
	if (r == 0) {
		write_again(&config);
		change(span_of(data, size), &config);
	}
	return 0;
}
