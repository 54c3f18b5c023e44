// SPDX-License-Identifier: Apache-2.0
/* policy_parse on anything; what it takes must be written and read again as the same. */
#include "core/cbor.h"
#include "core/policy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool truth)
{
	if (!truth)
		abort();
}

static struct span put(const struct policy *p, uint8_t *buf, size_t cap)
{
	struct cbor_writer w;

	cbor_writer_init(&w, buf, cap);
	policy_put(&w, p);
	must(!w.failed);
	return span_of(buf, w.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t once[16384], twice[16384];
	struct policy p, q;
	int r = policy_parse(span_of(data, len), &p);

	must(r == 0 || r == REASON_MALFORMED);
	if (r != 0)
		return 0;
	must(p.napps <= POLICY_APPS_MAX && p.ncut_offs <= POLICY_CUT_OFFS_MAX);
	must(policy_parse(put(&p, once, sizeof(once)), &q) == 0);
	must(span_equal(put(&p, once, sizeof(once)), put(&q, twice, sizeof(twice))));
	for (size_t i = 0; i < p.ncut_offs; i++)
		must(policy_cut_off(&p, span_str(p.cut_offs[i].lock)) >= p.cut_offs[i].time);
	for (size_t i = 0; i < p.napps; i++)
		must(policy_app_allowed(&p, span_str(p.apps[i])));
	must(policy_app_allowed(&p, (struct span){0}) == (p.napps == 0));
	return 0;
}
