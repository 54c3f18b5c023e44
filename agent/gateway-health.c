// SPDX-License-Identifier: Apache-2.0
/* The box's health, read from /proc and the parts' own counters: once a minute, nothing polls. */
#include <malloc.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "gateway-private.h"

static void count(struct message_health *ret, const char *name, uint64_t value)
{
	struct counter *c;

	if (ret->ncounters == ARRAY_SIZE(ret->counters))
		return;
	c = &ret->counters[ret->ncounters++];
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->value = value;
}

static bool read_number(const char *path, long *ret)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fscanf(file, "%ld", ret) == 1;

	if (file)
		fclose(file);
	return ok;
}

static uint64_t resident_kb(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long total, resident;
	bool ok = file && fscanf(file, "%lu %lu", &total, &resident) == 2;

	if (file)
		fclose(file);
	return ok ? (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) / 1024 : 0;
}

static uint64_t cpu_ms(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) < 0)
		return 0;
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

static void count_locks(struct gateway *gw, struct message_health *ret)
{
	struct lock_counters sum = {0};

	for (size_t i = 0; i < gw->nlocks; i++) {
		const struct lock_counters *c = lock_counters(gw->locks[i]->lock);

		sum.connects += c->connects;
		sum.visits += c->visits;
		sum.rubbish += c->rubbish;
		sum.gaps += c->gaps;
		sum.pushes += c->pushes;
		sum.bytes_out += c->bytes_out;
	}
	count(ret, "lock-connects", sum.connects);
	count(ret, "lock-visits", sum.visits);
	count(ret, "lock-documents", sum.pushes);
	count(ret, "lock-rubbish", sum.rubbish);
	count(ret, "lock-frame-gaps", sum.gaps);
	count(ret, "lock-bytes-out", sum.bytes_out);
}

static void count_decisions(const struct gateway_counters *c, struct message_health *ret)
{
	char name[sizeof(ret->counters[0].name)];

	count(ret, "accepted", c->accepted);
	count(ret, "done", c->done);
	count(ret, "failed", c->failed);
	count(ret, "unknown", c->unknown);
	for (int i = 1; i < REASON_COUNT_; i++) {
		if (!c->refused[i])
			continue;
		snprintf(name, sizeof(name), "refused-%s", reason_word((enum reason)i));
		count(ret, name, c->refused[i]);
	}
	count(ret, "receipts", c->receipts);
	count(ret, "documents-applied", c->documents_applied);
	count(ret, "documents-refused", c->documents_refused);
}

static void count_radio(struct gateway *gw, struct message_health *ret)
{
	const struct bluez_counters *c = bluez_counters(gw->bluez);

	count(ret, "adverts", c->adverts);
	count(ret, "radio-connects", c->connects);
	count(ret, "radio-connected", c->connected);
	count(ret, "radio-connect-failed", c->connect_failed);
	count(ret, "radio-recoveries", gw->recoveries);
	count(ret, "radio-daemon-restarts", c->daemon_restarts);
	count(ret, "radio-adapter-losses", c->adapter_losses);
	count(ret, "radio-scans-restarted", c->rung[BLUEZ_RUNG_SCAN]);
	count(ret, "radio-power-cycles", c->rung[BLUEZ_RUNG_POWER]);
	count(ret, "radio-service-restarts", c->rung[BLUEZ_RUNG_SERVICE]);
	count(ret, "radio-helpless", c->rung[BLUEZ_RUNG_HUMAN]);
	count(ret, "radio-scan-errors", c->scan_errors);
	count(ret, "radio-links-lost", c->closed[BLUEZ_LOST]);
	count(ret, "radio-links-silent", c->closed[BLUEZ_TIMEOUT]);
	count(ret, "radio-leftovers", c->leftovers);
	count(ret, "radio-stale-tables", c->stale_tables);
}

static void count_broker(struct gateway *gw, struct message_health *ret)
{
	struct mqtt_stats stats;

	mqtt_stats(gw->mqtt, &stats);
	count(ret, "broker-connects", stats.connects);
	count(ret, "broker-failures", stats.failures);
	count(ret, "broker-drops", stats.drops);
	count(ret, "broker-bytes-in", stats.bytes_in);
	count(ret, "broker-bytes-out", stats.bytes_out);
	count(ret, "events-rejected", gw->counters.events_rejected);
}

/* A handshake, a list, a check of the store leave pages behind that nothing uses. */
void gateway_rest(struct gateway *gw)
{
	store_rest(gw->store);
	malloc_trim(0);
}

void gateway_fill_health(struct gateway *gw, struct message_health *ret)
{
	struct statvfs disk;
	long temperature;

	memset(ret, 0, sizeof(*ret));
	ret->time = gateway_time(gw).now;
	ret->uptime = (clock_boot_ms() - gw->started_ms) / 1000;
	ret->memory_kb = resident_kb();
	ret->cpu_ms = cpu_ms();
	if (statvfs(gw->config.state_dir, &disk) == 0)
		ret->disk_free_kb = (uint64_t)disk.f_bavail * disk.f_frsize / 1024;
	if (read_number("/sys/class/thermal/thermal_zone0/temp", &temperature)) {
		ret->has_temperature = true;
		ret->temperature_mc = (int)temperature;
	}
	count(ret, "loop-turns", gw->counters.turns);
	count(ret, "loop-gap-max-us", gw->counters.turn_max_us);
	count_decisions(&gw->counters, ret);
	count_locks(gw, ret);
	count_radio(gw, ret);
	count_broker(gw, ret);
	count(ret, "certificate-requests", gw->counters.certificate_requests);
	count(ret, "certificate-renewals", gw->counters.certificate_renewals);
	count(ret, "certificate-refusals", gw->counters.certificate_refusals);
}
