/* SPDX-License-Identifier: Apache-2.0 */
/* config: what is accepted, and the exact words for what is not. */
#include "fixture.h"

#include "core/crypto.h"
#include "core/pem.h"
#include "link/config.h"

#define KEY_1	"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
#define KEY_2	"PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="
#define HEAD	"gateway = \"gw-1\";\nroot_key_file = \"/etc/root.pem\";\n" /* two lines */
#define BROKERS "brokers = ( { host = \"b\"; } );\n"
#define SPELLING                                                                                   \
	"is no setting; correct the spelling, or take the line out (lockbridge.conf.example has "  \
	"them all)"

struct files {
	char dir[64], path[128], error[1024];
	struct config config;
};

static int setup(void **state)
{
	struct files *f = calloc(1, sizeof(*f));

	assert_int_equal(crypto_init(), 0);
	fixture_dir(f->dir);
	snprintf(f->path, sizeof(f->path), "%s/lockbridge.conf", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct files *f = *state;

	fixture_dir_remove(f->dir);
	free(f);
	return 0;
}

static int parse(struct files *f, const char *text)
{
	f->error[0] = '\0';
	return config_parse("c.conf", span_str(text), &f->config, f->error, sizeof(f->error));
}

static void the_least_gets_the_defaults(void **state)
{
	struct files *f = *state;
	const struct config *c = &f->config;

	assert_int_equal(parse(f, HEAD BROKERS), 0);
	assert_string_equal(c->gateway, "gw-1");
	assert_string_equal(c->root_topic, "lockbridge");
	assert_string_equal(c->root_key_file, "/etc/root.pem");
	assert_string_equal(c->state_dir, "/var/lib/lockbridge");
	assert_int_equal(c->enrolled, 0);
	assert_int_equal(c->nbrokers, 1);
	assert_string_equal(c->brokers[0].host, "b");
	assert_int_equal(c->brokers[0].port, 1883);
	assert_int_equal(c->nlocks, 0);
	assert_string_equal(c->adapter, "");
	assert_true(c->stop_scan_to_connect);
	assert_int_equal(c->links_max, 2);
	assert_int_equal(c->silent_s, 90);
	assert_int_equal(c->event_keep_s, 14 * 86400);
	assert_int_equal(c->event_bytes_max, 64 << 20);
	assert_int_equal(c->health_s, 60);
	assert_int_equal(c->linger_s, 2);
	assert_int_equal(c->backoff_min_ms, 1000);
	assert_int_equal(c->backoff_max_ms, 60000);
	assert_int_equal(c->preferred_retry_s, 900);
	assert_string_equal(c->log_level, "info");
}

static void every_setting_is_taken(void **state)
{
	static const char text[] = HEAD
		"root_topic = \"city/one\"; state_dir = \"/s\"; enrolled = 1800000000;\n"
		"brokers = ( { host = \"a\"; ca = \"/ca\"; certificate = \"/c\"; key = \"/k\"; },\n"
		" { host = \"b\"; port = 1; username = \"u\"; password_file = \"/p\"; } );\n"
		"locks = ( { id = \"lock-2\"; key = \"" KEY_2 "\"; },\n"
		" { id = \"lock-1\"; key = \"" KEY_1
		"\"; address = \"AA:BB:CC:DD:EE:0F\"; driver = \"open\"; } );\n"
		"adapter = \"hci1\"; stop_scan_to_connect = false; links_max = 3; silent_s = 7;\n"
		"event_keep_s = 60; event_bytes_max = 5000000000; health_s = 5;\n"
		"linger_s = 0; backoff_min_ms = 10; backoff_max_ms = 0x20; "
		"preferred_retry_s = 3; log_level = \"debug\";";
	struct files *f = *state;
	const struct config *c = &f->config;
	uint8_t key[PUBLIC_LEN];

	if (parse(f, text) != 0)
		fail_msg("%s", f->error);
	assert_string_equal(c->root_topic, "city/one");
	assert_string_equal(c->state_dir, "/s");
	assert_int_equal(c->enrolled, 1800000000);
	assert_int_equal(c->nbrokers, 2);
	assert_string_equal(c->brokers[0].host, "a");
	assert_int_equal(c->brokers[0].port, 8883);
	assert_string_equal(c->brokers[0].ca, "/ca");
	assert_string_equal(c->brokers[0].certificate, "/c");
	assert_string_equal(c->brokers[0].key, "/k");
	assert_string_equal(c->brokers[1].host, "b");
	assert_int_equal(c->brokers[1].port, 1);
	assert_string_equal(c->brokers[1].username, "u");
	assert_string_equal(c->brokers[1].password_file, "/p");
	assert_int_equal(c->nlocks, 2);
	assert_string_equal(c->locks[0].id, "lock-2");
	assert_string_equal(c->locks[0].address, "");
	assert_string_equal(c->locks[1].id, "lock-1");
	assert_string_equal(c->locks[1].address, "AA:BB:CC:DD:EE:0F");
	assert_string_equal(c->locks[1].driver, "open");
	assert_int_equal(base64_decode(span_str(KEY_1), key, sizeof(key)), PUBLIC_LEN);
	assert_memory_equal(c->locks[1].key, key, PUBLIC_LEN);
	assert_string_equal(c->adapter, "hci1");
	assert_false(c->stop_scan_to_connect);
	assert_int_equal(c->links_max, 3);
	assert_int_equal(c->silent_s, 7);
	assert_int_equal(c->event_keep_s, 60);
	assert_true(c->event_bytes_max == 5000000000);
	assert_int_equal(c->health_s, 5);
	assert_int_equal(c->linger_s, 0);
	assert_int_equal(c->backoff_min_ms, 10);
	assert_int_equal(c->backoff_max_ms, 32);
	assert_int_equal(c->preferred_retry_s, 3);
	assert_string_equal(c->log_level, "debug");
}

static void the_same_text_gives_the_same_bytes(void **state)
{
	struct files *f = *state;
	struct config *other = malloc(sizeof(*other));

	memset(&f->config, 0xaa, sizeof(f->config));
	memset(other, 0x55, sizeof(*other));
	assert_int_equal(parse(f, HEAD BROKERS), 0);
	assert_int_equal(config_parse("other", span_str("# a remark\n" HEAD BROKERS), other,
				      f->error, sizeof(f->error)),
			 0);
	assert_memory_equal(&f->config, other, sizeof(*other));
	free(other);
}

/* HEAD is lines 1 and 2. */
static const struct {
	const char *text, *error;
} refused[] = {
	{"", "c.conf: gateway: is missing; add it"},
	{"gateway = \"gw-1\";\n" BROKERS, "c.conf: root_key_file: is missing; add it"},
	{HEAD, "c.conf: brokers: is missing; write brokers = ( { host = \"...\"; } );"},
	{HEAD "brokers = ();",
	 "c.conf:3: brokers: names none; write brokers = ( { host = \"...\"; } );"},
	{HEAD BROKERS "gatewya = \"x\";", "c.conf:4: gatewya: " SPELLING},
	{HEAD "brokers = ( { host = \"b\";\n hots = \"c\"; } );",
	 "c.conf:4: brokers[0].hots: " SPELLING},
	{HEAD BROKERS "locks = ( { id = \"l\"; key = \"" KEY_1 "\"; keys = 1; } );",
	 "c.conf:4: locks[0].keys: " SPELLING},
	/* ids */
	{"gateway = \"Gate\";",
	 "c.conf:1: gateway: is no id; use 1 to 32 of the characters a-z, 0-9 and -"},
	{"gateway = \"\";", "c.conf:1: gateway: is empty; fill it in"},
	{"gateway = \"123456789012345678901234567890123\";",
	 "c.conf:1: gateway: is no id; use 1 to 32 of the characters a-z, 0-9 and -"},
	{"gateway = \"a\tb\";", "c.conf:1: gateway: has a control character in it; type it again"},
	{HEAD BROKERS "root_topic = \"a/#\";", "c.conf:4: root_topic: is no root topic; use "
					       "letters, digits and - _ . with / only between "
					       "them, as in \"lockbridge\""},
	{HEAD BROKERS "root_topic = \"/a\";", "c.conf:4: root_topic: is no root topic; use "
					      "letters, digits and - _ . with / only between "
					      "them, as in \"lockbridge\""},
	/* types */
	{"gateway = 5;", "c.conf:1: gateway: is not a text; put it in quotation marks"},
	{HEAD BROKERS "health_s = \"60\";", "c.conf:4: health_s: is not a whole number; write it "
					    "without quotation marks and without a "
					    "decimal point"},
	{HEAD BROKERS "health_s = 1.5;", "c.conf:4: health_s: is not a whole number; write it "
					 "without quotation marks and without a "
					 "decimal point"},
	{HEAD BROKERS "stop_scan_to_connect = \"no\";",
	 "c.conf:4: stop_scan_to_connect: is neither true nor false; write one of them, without "
	 "quotation marks"},
	{HEAD "brokers = { host = \"b\"; };",
	 "c.conf:3: brokers: is not a list of groups; write brokers = ( { ... }, { ... } );"},
	{HEAD "brokers = ( \"b\" );",
	 "c.conf:3: brokers: has an entry that is no group; write { ... } around it"},
	{HEAD BROKERS "locks = [ \"l\" ];",
	 "c.conf:4: locks: is not a list of groups; write locks = ( { ... }, { ... } );"},
	/* numbers */
	{HEAD "brokers = ( { host = \"b\"; port = 0; } );",
	 "c.conf:3: brokers[0].port: is 0; choose a number from 1 to 65535"},
	{HEAD "brokers = ( { host = \"a\"; },\n{ host = \"b\"; port = 65536; } );",
	 "c.conf:4: brokers[1].port: is 65536; choose a number from 1 to 65535"},
	{HEAD BROKERS "health_s = -1;",
	 "c.conf:4: health_s: is -1; choose a number from 1 to 86400"},
	{HEAD BROKERS "event_bytes_max = 9223372036854775807;",
	 "c.conf:4: event_bytes_max: is 9223372036854775807; choose a number from 65536 to "
	 "1099511627776"},
	/* libconfig alone takes these for 60, and for 10 */
	{HEAD BROKERS "health_s = 4294967356;",
	 "c.conf:4: health_s: is 4294967356; choose a number from 1 to 86400"},
	{HEAD BROKERS "linger_s=/* 2^32 + 10 */0x10000000a;",
	 "c.conf:4: linger_s: is 4294967306; choose a number from 0 to 25"},
	{HEAD BROKERS "backoff_min_ms = 100;\nbackoff_max_ms = 50;",
	 "c.conf:5: backoff_max_ms: is 50, less than backoff_min_ms (100); raise it"},
	/* paths */
	{HEAD BROKERS "state_dir = \"here\";",
	 "c.conf:4: state_dir: is no absolute path; begin it with /"},
	/* brokers */
	{HEAD "brokers = ( { port = 1; } );", "c.conf:3: brokers[0].host: is missing; add it"},
	{HEAD "brokers = ( { host = \"b\"; ca = \"/a\"; key = \"/k\"; } );",
	 "c.conf:3: brokers[0].certificate: is missing; certificate and key go together"},
	{HEAD "brokers = ( { host = \"b\"; certificate = \"/c\"; key = \"/k\"; } );",
	 "c.conf:3: brokers[0].ca: is missing; a certificate is only used with TLS, which needs "
	 "ca"},
	{HEAD "brokers = ( { host = \"b\"; password_file = \"/p\"; } );",
	 "c.conf:3: brokers[0].username: is missing; a password needs one"},
	{HEAD "brokers = ({host=\"1\";},{host=\"2\";},{host=\"3\";},{host=\"4\";},{host=\"5\";},"
	      "{host=\"6\";},{host=\"7\";},{host=\"8\";},{host=\"9\";});",
	 "c.conf:3: brokers: are 9; 8 is the most: take some out"},
	/* locks */
	{HEAD BROKERS "locks = (\n{ id = \"l\"; } );",
	 "c.conf:5: locks[0].key: is missing; add it"},
	{HEAD BROKERS "locks = ( { id = \"l\"; key = \"" KEY_1
		      "\"; },\n{ id = \"l\"; key = \"" KEY_2 "\"; } );",
	 "c.conf:5: locks[1].id: \"l\" is the id of locks[0] as well; each lock has its own"},
	{HEAD BROKERS "locks = ( { id = \"l\"; key = \"" KEY_1
		      "\"; },\n{ id = \"m\"; key = \"" KEY_1 "\"; } );",
	 "c.conf:5: locks[1].key: is the key of locks[0] (\"l\") as well; each lock has its own"},
	{HEAD BROKERS "locks = ( { id = \"l\"; key = \"AAAA\"; } );",
	 "c.conf:4: locks[0].key: is no public key; copy the 44 characters of base64 that are "
	 "printed on the lock (32 bytes)"},
	{HEAD BROKERS "locks = ( { id = \"l\"; key = \"" KEY_1
		      "\"; address = \"aa:bb:cc:dd:ee:ff\"; } );",
	 "c.conf:4: locks[0].address: is no Bluetooth address; write it as \"AA:BB:CC:DD:EE:FF\", "
	 "or "
	 "leave the setting out"},
	{HEAD BROKERS "locks = ( { id = \"l\"; key = \"" KEY_1 "\"; driver = \"acme\"; } );",
	 "c.conf:4: locks[0].driver: is no driver that this version has; use \"open\""},
	{HEAD BROKERS "log_level = \"loud\";",
	 "c.conf:4: log_level: is no level; use error, warning, notice, info or debug"},
	{HEAD BROKERS "adapter = \"a-name-that-is-too-long\";",
	 "c.conf:4: adapter: is 23 characters long; 15 is the most: use a shorter one"},
	/* form */
	{HEAD BROKERS "health_s = \n;",
	 "c.conf:5: syntax error; look for a missing ; or \" or bracket on this line and the one "
	 "before"},
	{HEAD "gateway = \"again\";\n",
	 "c.conf:3: duplicate setting name; look for a missing ; or \" or bracket on this line and "
	 "the one before"},
	{HEAD "  @include \"/etc/passwd\"\n",
	 "c.conf:3: @include is not allowed; put all settings into this file"},
};

static void each_mistake_is_named_with_file_line_and_setting(void **state)
{
	struct files *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		memset(&f->config, 0x77, sizeof(f->config));
		if (parse(f, refused[i].text) != -EINVAL)
			fail_msg("accepted: %s", refused[i].text);
		assert_string_equal(f->error, refused[i].error);
		/* untouched */
		assert_int_equal(f->config.gateway[0], 0x77);
	}
}

static void hostile_text_is_refused(void **state)
{
	static const char nul[] = HEAD "\n\0" BROKERS;
	struct files *f = *state;
	char *text = malloc(CONFIG_TEXT_MAX + 2);
	int n;

	assert_int_equal(config_parse("c.conf", span_of(nul, sizeof(nul) - 1), &f->config, f->error,
				      sizeof(f->error)),
			 -EINVAL);
	assert_string_equal(f->error,
			    "c.conf:4: the file has a NUL byte in it; write it anew as plain text");
	memset(text, ' ', CONFIG_TEXT_MAX + 1);
	text[CONFIG_TEXT_MAX + 1] = '\0';
	assert_int_equal(parse(f, text), -EINVAL);
	assert_string_equal(f->error,
			    "c.conf: the file is larger than 262144 bytes; make it smaller");
	/* as deep as it goes */
	n = snprintf(text, CONFIG_TEXT_MAX, "a = ");
	memset(text + n, '(', CONFIG_TEXT_MAX - 10);
	text[CONFIG_TEXT_MAX - 1] = '\0';
	assert_int_equal(parse(f, text), -EINVAL);
	/* an error never overruns a small place for it */
	assert_int_equal(config_parse("c.conf", span_str("x"), &f->config, f->error, 8), -EINVAL);
	assert_int_equal(strlen(f->error), 7);
	free(text);
}

static void too_many_locks_are_refused(void **state)
{
	struct files *f = *state;
	char *text = malloc(65536);

	for (size_t count = CONFIG_LOCKS; count <= CONFIG_LOCKS + 1; count++) {
		size_t n = (size_t)sprintf(text, HEAD BROKERS "locks = (");

		for (size_t i = 0; i < count; i++) {
			uint8_t key[PUBLIC_LEN] = {(uint8_t)i};
			char words[BASE64_CAP(PUBLIC_LEN)];

			base64_encode(SPAN(key), words, sizeof(words));
			n += (size_t)sprintf(text + n, "%s{ id = \"l%zu\"; key = \"%s\"; }",
					     i ? "," : "", i, words);
		}
		strcpy(text + n, ");");
		assert_int_equal(parse(f, text), count > CONFIG_LOCKS ? -EINVAL : 0);
	}
	assert_string_equal(f->error, "c.conf:4: locks: are 65; 64 is the most: take some out");
	free(text);
}

/* --- files --- */

static void expect_error(struct files *f, const char *format, ...)
{
	char want[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(want, sizeof(want), format, args);
	va_end(args);
	assert_string_equal(f->error, want);
}

static int load(struct files *f)
{
	f->error[0] = '\0';
	return config_load(f->path, &f->config, f->error, sizeof(f->error));
}

static void put_keys(struct files *f)
{
	char pem[PEM_PRIVATE_CAP];
	struct signer signer;
	uint8_t seed[SEED_LEN] = {7};

	signer_from_seed(seed, &signer);
	assert_true(pem_encode_private(&signer, pem) > 0);
	fixture_write(f->dir, "private.pem", pem);
	assert_true(pem_encode_public(signer.pub, pem) > 0);
	fixture_write(f->dir, "root.pem", pem);
	fixture_write(f->dir, "rubbish.pem", "-----BEGIN PUBLIC KEY-----\nxx\n");
}

static void put_config(struct files *f, const char *key_file, const char *broker)
{
	char text[1024];

	snprintf(
		text, sizeof(text),
		"gateway = \"gw-1\";\nroot_key_file = \"%s/%s\";\nbrokers = ( { host = \"b\"; %s } "
		");\n",
		f->dir, key_file, broker);
	fixture_write(f->dir, "lockbridge.conf", text);
}

static void a_file_is_loaded_with_its_key(void **state)
{
	struct files *f = *state;
	struct signer signer;
	uint8_t seed[SEED_LEN] = {7};

	put_keys(f);
	put_config(f, "root.pem", "");
	if (load(f) != 0)
		fail_msg("%s", f->error);
	signer_from_seed(seed, &signer);
	assert_memory_equal(f->config.root_key, signer.pub, PUBLIC_LEN);
}

static void files_that_cannot_be_used_are_named(void **state)
{
	struct files *f = *state;

	assert_int_equal(load(f), -ENOENT);
	expect_error(f,
		     "%s: cannot read %s: No such file or directory; correct the path, or put the "
		     "file there",
		     f->path, f->path);
	put_keys(f);
	put_config(f, "missing.pem", "");
	assert_int_equal(load(f), -EINVAL);
	expect_error(f,
		     "%s:2: root_key_file: cannot read %s/missing.pem: No such file or directory; "
		     "correct the path, or put the file there",
		     f->path, f->dir);
	put_config(f, "rubbish.pem", "");
	assert_int_equal(load(f), -EINVAL);
	expect_error(f,
		     "%s:2: root_key_file: %s/rubbish.pem holds no Ed25519 public key in PEM; get "
		     "the file from the city's desk anew",
		     f->path, f->dir);
	put_config(f, "private.pem", "");
	assert_int_equal(load(f), -EINVAL);
	expect_error(f,
		     "%s:2: root_key_file: %s/private.pem holds a private key, which must not be "
		     "on a gateway; take it away, treat it as stolen, and put the public key there "
		     "(openssl pkey -pubout)",
		     f->path, f->dir);
	put_config(f, "", "");
	assert_int_equal(load(f), -EINVAL);
	expect_error(f, "%s:2: root_key_file: cannot read %s/: Is a directory; name a file",
		     f->path, f->dir);
	put_config(f, "root.pem", "ca = \"/nonexistent/ca.pem\";");
	assert_int_equal(load(f), -EINVAL);
	expect_error(f,
		     "%s:3: brokers[0].ca: cannot read /nonexistent/ca.pem: No such file or "
		     "directory; correct the path, or put the file there",
		     f->path);
	put_config(f, "root.pem", "username = \"u\"; password_file = \"/dev/null\";");
	assert_int_equal(load(f), -EINVAL);
	expect_error(f,
		     "%s:3: brokers[0].password_file: cannot read /dev/null: it is no ordinary "
		     "file; name one",
		     f->path);
}

static void a_file_that_may_not_be_read_is_named(void **state)
{
	struct files *f = *state;
	int status;
	pid_t pid;

	put_keys(f);
	put_config(f, "root.pem", "");
	fixture_shell(f->dir, "chmod 000 root.pem");
	assert_int_equal(chmod(f->dir, 0755), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		if (load(f) != -EINVAL)
			_exit(3);
		_exit(strstr(f->error, ":2: root_key_file: cannot read") &&
				      strstr(f->error,
					     "let the user that the agent runs as read it")
			      ? 0
			      : 4);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define SECRETS                                                                                    \
	"brokers = ( { host = \"b\"; ca = \"ca.pem\"; certificate = \"ca.pem\"; "                  \
	"key = \"gw.key\";\nusername = \"u\"; password_file = \"word\"; } );\n"

/* Loads a configuration with two credentials of the service. */
static int load_with_credentials(struct files *f)
{
	put_keys(f);
	fixture_write(f->dir, "lockbridge.conf",
		      "gateway = \"gw-1\";\nroot_key_file = \"root.pem\";\n" SECRETS);
	fixture_write(f->dir, "ca.pem", "x");
	fixture_shell(f->dir, "sed -i \"s,\\(root\\.pem\\),$PWD/&,; s,\\(ca\\.pem\\),$PWD/&,g\" "
			      "lockbridge.conf");
	return load(f);
}

static void a_credential_is_the_services_or_stands_beside_the_file(void **state)
{
	struct files *f = *state;
	char want[128], folder[128];

	unsetenv("CREDENTIALS_DIRECTORY");
	fixture_write(f->dir, "gw.key", "k");
	fixture_write(f->dir, "word", "w");
	if (load_with_credentials(f) != 0)
		fail_msg("%s", f->error);
	snprintf(want, sizeof(want), "%s/gw.key", f->dir);
	assert_string_equal(f->config.brokers[0].key, want);
	fixture_shell(f->dir, "mkdir secrets; mv gw.key word secrets");
	snprintf(folder, sizeof(folder), "%s/secrets", f->dir);
	setenv("CREDENTIALS_DIRECTORY", folder, 1);
	if (load_with_credentials(f) != 0)
		fail_msg("%s", f->error);
	snprintf(want, sizeof(want), "%s/secrets/word", f->dir);
	assert_string_equal(f->config.brokers[0].password_file, want);
	unsetenv("CREDENTIALS_DIRECTORY");
}

static void a_credential_that_lacks_is_named_with_what_to_do(void **state)
{
	struct files *f = *state;

	unsetenv("CREDENTIALS_DIRECTORY");
	fixture_write(f->dir, "word", "w");
	assert_int_equal(load_with_credentials(f), -EINVAL);
	assert_non_null(strstr(f->error, "lockbridge.conf:3: brokers[0].key: cannot read"));
	assert_non_null(strstr(f->error, "or put the file there"));
	/* the unit without its line */
	setenv("CREDENTIALS_DIRECTORY", f->dir, 1);
	assert_int_equal(load_with_credentials(f), -EINVAL);
	assert_non_null(strstr(f->error, ":3: brokers[0].key: the service got no credential "
					 "gw.key; the unit needs "
					 "LoadCredential=gw.key:/etc/lockbridge/gw.key"));
	/* what was not there yet when the service started */
	fixture_write(f->dir, "gw.key", "");
	assert_int_equal(load_with_credentials(f), -EINVAL);
	assert_non_null(strstr(f->error, "gw.key is empty; systemctl restart lockbridge"));
	fixture_write(f->dir, "gw.key", "none");
	assert_int_equal(load_with_credentials(f), -EINVAL);
	assert_non_null(strstr(f->error, "gw.key is empty; systemctl restart lockbridge"));
	fixture_write(f->dir, "gw.key", "k");
	fixture_shell(f->dir, "rm word");
	assert_int_equal(load_with_credentials(f), -EINVAL);
	assert_non_null(strstr(f->error, ":4: brokers[0].password_file: the service got no "));
	unsetenv("CREDENTIALS_DIRECTORY");
}

static void a_credentials_name_leads_nowhere_else(void **state)
{
	static const char *const bad[] = {"../x", "a/b", ".", "..", ".hidden", "a b", "a\tb", "Ã©"};
	struct files *f = *state;
	char text[512];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text),
			 HEAD "brokers = ( { host = \"b\"; ca = \"/c\"; certificate = \"/c\"; "
			      "key = \"%s\"; } );",
			 bad[i]);
		if (parse(f, text) != -EINVAL)
			fail_msg("%s", bad[i]);
		assert_memory_equal(f->error, "c.conf:3: brokers[0].key: ", 26);
	}
	/* the text alone touches no file, and keeps the name */
	assert_int_equal(parse(f, HEAD "brokers = ( { host = \"b\"; ca = \"/c\"; certificate = "
				       "\"/c\"; key = \"gateway.key\"; } );"),
			 0);
	assert_string_equal(f->config.brokers[0].key, "gateway.key");
	/* a credential that is public is none */
	assert_int_equal(parse(f, HEAD "brokers = ( { host = \"b\"; ca = \"ca.pem\"; } );"),
			 -EINVAL);
	assert_non_null(strstr(f->error, "is no absolute path"));
}

/* The example, with its paths led into our folder and these files put there. */
static void the_example_is_accepted_and_its_defaults_are_true(void **state)
{
	struct files *f = *state;
	struct config *plain = malloc(sizeof(*plain));

	put_keys(f);
	fixture_shell(
		f->dir,
		"cp root.pem root.pub.pem && touch broker-ca.pem gateway.pem && "
		"echo key >gateway.key && "
		"sed \"s,/etc/lockbridge,$PWD,; s,/var/lib/lockbridge/gateway,$PWD/gateway,\" "
		"\"$OLDPWD\"/config/lockbridge.conf.example >lockbridge.conf");
	if (load(f) != 0)
		fail_msg("%s", f->error);
	assert_int_equal(f->config.nbrokers, 2);
	assert_int_equal(f->config.nlocks, 2);
	*plain = f->config;
	/* what is commented out is what holds without it */
	fixture_shell(f->dir, "sed -i 's/^#\\([a-z]\\)/\\1/' lockbridge.conf && "
			      "test $(grep -c '^[a-z_]* = ' lockbridge.conf) -ge 17");
	if (load(f) != 0)
		fail_msg("%s", f->error);
	assert_memory_equal(&f->config, plain, sizeof(*plain));
	free(plain);
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_least_gets_the_defaults),
		test(every_setting_is_taken),
		test(the_same_text_gives_the_same_bytes),
		test(each_mistake_is_named_with_file_line_and_setting),
		test(hostile_text_is_refused),
		test(too_many_locks_are_refused),
		test(a_file_is_loaded_with_its_key),
		test(files_that_cannot_be_used_are_named),
		test(a_file_that_may_not_be_read_is_named),
		test(a_credential_is_the_services_or_stands_beside_the_file),
		test(a_credential_that_lacks_is_named_with_what_to_do),
		test(a_credentials_name_leads_nowhere_else),
		test(the_example_is_accepted_and_its_defaults_are_true),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
