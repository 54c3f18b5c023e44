// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into the agent: counts each system call that changes a file or sends something, and at
 * the n-th kills the process, fails, or writes only half.
 *
 * Not by wrapping libc's functions: a library that calls another one, or libc itself (mkostemp,
 * stdio, the resolver), would pass beside it. A seccomp filter turns each such call, from wherever
 * it comes, into SIGSYS; the handler makes the call from one instruction, which the filter lets
 * pass. What changes a file without a call is a shared mapping; store.db has none, as the database
 * is locked for good (locking_mode=EXCLUSIVE).
 *
 * TORTURE_CALL: words, "at=17 do=kill-before kind=disk,radio only=write errno=EIO"
 *   kind   what is counted: disk bus radio broker log wake other; by default everything
 *   only   write: of these only what writes bytes
 *   at     the number of the call, from 1; 0 or missing: only count
 *   do     kill-before, kill-after
 *          torn     half of the bytes, then killed
 *          error    fails with errno
 *          short    half of the bytes; the call says so
 *          lost     from here on each call of the same kind fails with errno
 *          dead     from here on each call counted fails with errno
 *          full     half of the bytes, from here on nothing that needs room: ENOSPC
 * TORTURE_TRACE: a file; each call is a line there before it is made: number, name, kind, what on.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <ucontext.h>
#include <unistd.h>

#include <dlfcn.h>

#define PARTS_MAX 64
#define TRACE_FD  900

enum kind { DISK, BUS, RADIO, BROKER, LOG, WAKE, OTHER, KINDS };
static const char *const kind_words[KINDS] = {"disk", "bus",  "radio", "broker",
					      "log",  "wake", "other"};

enum deed { COUNT, KILL_BEFORE, KILL_AFTER, TORN, ERROR, SHORT, LOST, DEAD, FULL, DEEDS };
static const char *const deed_words[DEEDS] = {"count", "kill-before", "kill-after", "torn", "error",
					      "short", "lost",	      "dead",	    "full"};

static struct {
	unsigned kinds; /* a bit for each */
	bool only_write;
	unsigned long at;
	enum deed deed;
	int error;
	int trace;
} plan = {.kinds = (1u << KINDS) - 1, .error = EIO, .trace = -1};

static atomic_ulong count;
static atomic_uint failing; /* kinds, a bit for each */

/* --- the calls ---------------------------------------------------------------------------------- */

enum shape {
	WRITES = 1, /* fd, bytes, length */
	GATHERS,    /* fd, parts, number */
	MESSAGE,    /* fd, struct msghdr */
	ON_FD,	    /* fd first */
	ON_PATH,    /* path first */
	AT_PATH,    /* folder, path */
	OPENS,	    /* path, flags: counted with O_CREAT */
	OPENS_AT,   /* folder, path, flags */
	CONNECTS,
};

static const struct call {
	long number;
	enum shape shape;
	bool takes_room;
	const char *name;
} calls[] = {
	{SYS_write, WRITES, true, "write"},
	{SYS_pwrite64, WRITES, true, "pwrite"},
	{SYS_sendto, WRITES, true, "send"},
	{SYS_writev, GATHERS, true, "writev"},
	{SYS_pwritev, GATHERS, true, "pwritev"},
	{SYS_pwritev2, GATHERS, true, "pwritev2"},
	{SYS_sendmsg, MESSAGE, true, "sendmsg"},
	{SYS_sendmmsg, ON_FD, true, "sendmmsg"},
	{SYS_sendfile, ON_FD, true, "sendfile"},
	{SYS_copy_file_range, ON_FD, true, "copy_file_range"},
	{SYS_splice, ON_FD, true, "splice"},
	{SYS_fsync, ON_FD, false, "fsync"},
	{SYS_fdatasync, ON_FD, false, "fdatasync"},
	{SYS_sync_file_range, ON_FD, false, "sync_file_range"},
	{SYS_ftruncate, ON_FD, true, "ftruncate"},
	{SYS_fallocate, ON_FD, true, "fallocate"},
	{SYS_fchmod, ON_FD, false, "fchmod"},
	{SYS_fchown, ON_FD, false, "fchown"},
	{SYS_truncate, ON_PATH, true, "truncate"},
	{SYS_openat, OPENS_AT, true, "openat"},
	{SYS_mkdirat, AT_PATH, true, "mkdirat"},
	{SYS_unlinkat, AT_PATH, false, "unlinkat"},
	{SYS_linkat, AT_PATH, true, "linkat"},
	{SYS_symlinkat, ON_PATH, true, "symlinkat"},
	{SYS_renameat2, AT_PATH, true, "renameat2"},
	{SYS_fchmodat, AT_PATH, false, "fchmodat"},
	{SYS_fchownat, AT_PATH, false, "fchownat"},
	{SYS_connect, CONNECTS, false, "connect"},
#ifdef SYS_renameat
	{SYS_renameat, AT_PATH, true, "renameat"},
#endif
#ifdef SYS_open /* x86-64 has the older ones as well */
	{SYS_open, OPENS, true, "open"},
	{SYS_creat, ON_PATH, true, "creat"},
	{SYS_mkdir, ON_PATH, true, "mkdir"},
	{SYS_rmdir, ON_PATH, false, "rmdir"},
	{SYS_unlink, ON_PATH, false, "unlink"},
	{SYS_link, ON_PATH, true, "link"},
	{SYS_symlink, ON_PATH, true, "symlink"},
	{SYS_rename, ON_PATH, true, "rename"},
	{SYS_chmod, ON_PATH, false, "chmod"},
	{SYS_chown, ON_PATH, false, "chown"},
#endif
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* The one instruction that the filter lets pass; torture_passage is where it returns to. */
long torture_call(long number, const long *args);
extern const char torture_passage[];

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
__asm__(".text\n.globl torture_call\n.hidden torture_call\n.type torture_call, @function\n"
	"torture_call:\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %r11\n"
	"	mov 0(%r11), %rdi\n"
	"	mov 8(%r11), %rsi\n"
	"	mov 16(%r11), %rdx\n"
	"	mov 24(%r11), %r10\n"
	"	mov 32(%r11), %r8\n"
	"	mov 40(%r11), %r9\n"
	"	syscall\n"
	".globl torture_passage\n.hidden torture_passage\n"
	"torture_passage:\n"
	"	ret\n"
	".size torture_call, . - torture_call\n");

static void read_args(const ucontext_t *uc, long ret[static 6])
{
	static const int registers[6] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};

	for (int i = 0; i < 6; i++)
		ret[i] = (long)uc->uc_mcontext.gregs[registers[i]];
}

static void set_result(ucontext_t *uc, long value)
{
	uc->uc_mcontext.gregs[REG_RAX] = value;
}
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
__asm__(".text\n.globl torture_call\n.hidden torture_call\n.type torture_call, %function\n"
	"torture_call:\n"
	"	mov x8, x0\n"
	"	mov x9, x1\n"
	"	ldp x0, x1, [x9]\n"
	"	ldp x2, x3, [x9, #16]\n"
	"	ldp x4, x5, [x9, #32]\n"
	"	svc #0\n"
	".globl torture_passage\n.hidden torture_passage\n"
	"torture_passage:\n"
	"	ret\n"
	".size torture_call, . - torture_call\n");

static void read_args(const ucontext_t *uc, long ret[static 6])
{
	for (int i = 0; i < 6; i++)
		ret[i] = (long)uc->uc_mcontext.regs[i];
}

static void set_result(ucontext_t *uc, long value)
{
	uc->uc_mcontext.regs[0] = (unsigned long)value;
}
#else
#error "shim-call.c knows the registers of x86-64 and arm64 only"
#endif

static long raw(long number, long a, long b, long c, long d)
{
	const long args[6] = {a, b, c, d};

	return torture_call(number, args);
}

/* --- what a call is about: only raw calls from here on, it runs in a signal handler --------------- */

static enum kind kind_of_socket(int fd)
{
	int domain = 0, type = 0;
	socklen_t len = sizeof(domain);
	struct sockaddr_un peer;
	long r;
	const long family[6] = {fd, SOL_SOCKET, SO_DOMAIN, (long)&domain, (long)&len};
	const long kind[6] = {fd, SOL_SOCKET, SO_TYPE, (long)&type, (long)&len};

	if (torture_call(SYS_getsockopt, family) < 0 || torture_call(SYS_getsockopt, kind) < 0)
		return OTHER;
	if (domain == AF_INET || domain == AF_INET6)
		return BROKER;
	if (domain != AF_UNIX)
		return OTHER;
	if (type == SOCK_SEQPACKET) /* what AcquireWrite gave: frames to a lock */
		return RADIO;
	if (type != SOCK_STREAM) /* a datagram: the journal's, or systemd's */
		return LOG;
	len = sizeof(peer);
	r = raw(SYS_getpeername, fd, (long)&peer, (long)&len, 0);
	/* a pair, by which libmosquitto wakes itself: its ends have no names */
	return r == 0 && len <= sizeof(peer.sun_family) ? WAKE : BUS;
}

static enum kind kind_of_fd(int fd, char *what, size_t cap)
{
	struct stat st = {0};
	char path[32];
	long len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = raw(SYS_readlinkat, AT_FDCWD, (long)path, (long)what, (long)cap - 1);
	what[len > 0 ? len : 0] = '\0';
	if (fd == STDERR_FILENO || fd == STDOUT_FILENO)
		return LOG;
#ifdef SYS_fstat
	if (raw(SYS_fstat, fd, (long)&st, 0, 0) < 0)
		return OTHER;
#else
	if (raw(SYS_newfstatat, fd, (long)"", (long)&st, AT_EMPTY_PATH) < 0)
		return OTHER;
#endif
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
		return DISK;
	if (S_ISSOCK(st.st_mode))
		return kind_of_socket(fd);
	return S_ISCHR(st.st_mode) ? OTHER : WAKE; /* an eventfd is no file of any kind */
}

static enum kind kind_of(const struct call *call, const long args[static 6], char *what, size_t cap)
{
	const char *path = "";

	switch (call->shape) {
	case WRITES:
	case GATHERS:
	case MESSAGE:
	case ON_FD:
		return kind_of_fd((int)args[0], what, cap);
	case CONNECTS:
		return kind_of_socket((int)args[0]);
	case ON_PATH:
	case OPENS:
		path = (const char *)args[0];
		break;
	case AT_PATH:
	case OPENS_AT:
		path = (const char *)args[1];
		break;
	}
	snprintf(what, cap, "%s", path ? path : "");
	return DISK;
}

static bool creates(const struct call *call, const long args[static 6])
{
	if (call->shape == OPENS)
		return args[1] & O_CREAT;
	return call->shape != OPENS_AT || args[2] & O_CREAT;
}

static bool writes(const struct call *call)
{
	return call->shape == WRITES || call->shape == GATHERS || call->shape == MESSAGE;
}

/* --- doing half --------------------------------------------------------------------------------- */

/* The first half of the bytes of these parts; the number of parts. */
static size_t halve(const struct iovec *parts, size_t n, struct iovec ret[static PARTS_MAX])
{
	size_t sum = 0, used = 0;

	for (size_t i = 0; i < n; i++)
		sum += parts[i].iov_len;
	sum /= 2;
	while (used < n && used < PARTS_MAX && sum > 0) {
		ret[used] = parts[used];
		if (ret[used].iov_len > sum)
			ret[used].iov_len = sum;
		sum -= ret[used++].iov_len;
	}
	return used;
}

static long half(const struct call *call, const long args[static 6])
{
	struct iovec parts[PARTS_MAX];
	long changed[6];

	memcpy(changed, args, sizeof(changed));
	if (call->shape == WRITES) {
		changed[2] /= 2;
		return changed[2] ? torture_call(call->number, changed) : 0;
	}
	if (call->shape == GATHERS) {
		changed[1] = (long)parts;
		changed[2] = (long)halve((const struct iovec *)args[1], (size_t)args[2], parts);
		return changed[2] ? torture_call(call->number, changed) : 0;
	}
	if (call->shape == MESSAGE) {
		struct msghdr message = *(const struct msghdr *)args[1];

		message.msg_iovlen = halve(message.msg_iov, message.msg_iovlen, parts);
		message.msg_iov = parts;
		changed[1] = (long)&message;
		return message.msg_iovlen ? torture_call(call->number, changed) : 0;
	}
	return -ENOSPC;
}

static _Noreturn void die(void)
{
	long self = raw(SYS_getpid, 0, 0, 0, 0);

	for (;;)
		raw(SYS_kill, self, SIGKILL, 0, 0);
}

/* --- the n-th ----------------------------------------------------------------------------------- */

static void trace(unsigned long n, const struct call *call, enum kind kind, const char *what,
		  const char *deed)
{
	char line[512];
	int len =
		snprintf(line, sizeof(line), "%lu %s %s %s%s%s\n", n, call->name, kind_words[kind],
			 what[0] ? what : "-", deed ? " <- " : "", deed ? deed : "");

	if (plan.trace >= 0)
		raw(SYS_write, plan.trace, (long)line, len < 512 ? len : 511, 0);
}

static long at_last(const struct call *call, const long args[static 6], enum kind kind)
{
	long r;

	switch (plan.deed) {
	case KILL_BEFORE:
		die();
	case KILL_AFTER:
		torture_call(call->number, args);
		die();
	case TORN:
		if (writes(call))
			half(call, args);
		die();
	case ERROR:
		return -plan.error;
	case SHORT:
		r = writes(call) ? half(call, args) : 0;
		return r == 0 ? torture_call(call->number, args) : r;
	case LOST:
		atomic_store(&failing, 1u << kind);
		return -plan.error;
	case DEAD:
		atomic_store(&failing, plan.kinds);
		return -plan.error;
	case FULL:
		atomic_store(&failing, 1u << kind);
		r = call->takes_room ? half(call, args) : torture_call(call->number, args);
		return r == 0 && call->takes_room ? -ENOSPC : r;
	case COUNT:
	case DEEDS:
		break;
	}
	return torture_call(call->number, args);
}

static long made(const struct call *call, const long args[static 6])
{
	char what[256] = "";
	enum kind kind;
	unsigned long n;

	if (!creates(call, args))
		return torture_call(call->number, args);
	kind = kind_of(call, args, what, sizeof(what));
	if (!(plan.kinds & 1u << kind) || (plan.only_write && !writes(call)))
		return torture_call(call->number, args);
	n = atomic_fetch_add(&count, 1) + 1;
	if (atomic_load(&failing) & 1u << kind) {
		if (plan.deed == FULL && !call->takes_room)
			return torture_call(call->number, args);
		return plan.deed == FULL ? -ENOSPC : -plan.error;
	}
	if (n != plan.at) {
		trace(n, call, kind, what, NULL);
		return torture_call(call->number, args);
	}
	trace(n, call, kind, what, deed_words[plan.deed]);
	return at_last(call, args, kind);
}

static void on_call(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	long args[6];

	(void)signal;
	read_args(uc, args);
	for (size_t i = 0; i < CALLS; i++) {
		if (calls[i].number == info->si_syscall) {
			set_result(uc, made(&calls[i], args));
			return;
		}
	}
	set_result(uc, -ENOSYS);
}

/* --- before main -------------------------------------------------------------------------------- */

static _Noreturn void refuse(const char *why, const char *what)
{
	fprintf(stderr, "shim-call: %s: %s\n", why, what);
	_exit(99);
}

static int word_in(const char *const *words, int n, const char *word, size_t len)
{
	for (int i = 0; i < n; i++) {
		if (strlen(words[i]) == len && memcmp(words[i], word, len) == 0)
			return i;
	}
	refuse("TORTURE_CALL: not known", word);
}

static void read_kinds(const char *value)
{
	plan.kinds = 0;
	while (*value) {
		size_t len = strcspn(value, ",");

		plan.kinds |= 1u << word_in(kind_words, KINDS, value, len);
		value += len + (value[len] == ',');
	}
}

static void read_plan(const char *text)
{
	char copy[256], *rest = NULL;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		char *value = strchr(word, '=');

		if (!value)
			refuse("TORTURE_CALL: lacks a =", word);
		*value++ = '\0';
		if (strcmp(word, "at") == 0)
			plan.at = strtoul(value, NULL, 10);
		else if (strcmp(word, "do") == 0)
			plan.deed = (enum deed)word_in(deed_words, DEEDS, value, strlen(value));
		else if (strcmp(word, "kind") == 0)
			read_kinds(value);
		else if (strcmp(word, "only") == 0)
			plan.only_write = strcmp(value, "write") == 0;
		else if (strcmp(word, "errno") == 0)
			plan.error = strcmp(value, "ENOSPC") == 0 ? ENOSPC : EIO;
		else
			refuse("TORTURE_CALL: not known", word);
	}
}

/* Only SIGSYS must stay open, or the kernel kills the thread instead of asking. */
static const sigset_t *but_for_us(int how, const sigset_t *set, sigset_t *copy)
{
	if (!set || how == SIG_UNBLOCK)
		return set;
	*copy = *set;
	sigdelset(copy, SIGSYS);
	return copy;
}

int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	int (*next)(int, const sigset_t *, sigset_t *) = dlsym(RTLD_NEXT, "pthread_sigmask");
	sigset_t copy;

	return next(how, but_for_us(how, set, &copy), old);
}

int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	int (*next)(int, const sigset_t *, sigset_t *) = dlsym(RTLD_NEXT, "sigprocmask");
	sigset_t copy;

	return next(how, but_for_us(how, set, &copy), old);
}

/* From our own instruction: allowed. Of our list: a signal. Else: allowed. */
static void install_filter(void)
{
	uint64_t passage = (uint64_t)(uintptr_t)torture_passage;
	struct sock_filter program[2 * CALLS + 16];
	unsigned short n = 0;

#define LOAD(field)                                                                                \
	(struct sock_filter)                                                                       \
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define EQUAL(value, yes, no)                                                                      \
	(struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), yes, no)
#define RETURN(what) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, what)
	program[n++] = LOAD(arch);
	program[n++] = EQUAL(ARCH, 1, 0);
	program[n++] = RETURN(SECCOMP_RET_ALLOW);
	program[n++] = LOAD(instruction_pointer);
	program[n++] = EQUAL(passage, 0, 3);
	program[n] = LOAD(instruction_pointer);
	program[n++].k += 4;
	program[n++] = EQUAL(passage >> 32, 0, 1);
	program[n++] = RETURN(SECCOMP_RET_ALLOW);
	program[n++] = LOAD(nr);
	for (size_t i = 0; i < CALLS; i++) {
		program[n++] = EQUAL(calls[i].number, 0, 1);
		program[n++] = RETURN(SECCOMP_RET_TRAP);
	}
	program[n++] = RETURN(SECCOMP_RET_ALLOW);
	const struct sock_fprog filter = {.len = n, .filter = program};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		refuse("cannot install the filter", strerror(errno));
}

__attribute__((constructor)) static void start(void)
{
	const char *words = getenv("TORTURE_CALL"), *path = getenv("TORTURE_TRACE");
	struct sigaction action = {.sa_sigaction = on_call, .sa_flags = SA_SIGINFO | SA_NODEFER};

	if (!words)
		return;
	read_plan(words);
	if (path) {
		int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

		plan.trace = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, TRACE_FD);
		if (plan.trace < 0)
			refuse(path, strerror(errno));
		close(fd);
	}
	sigaction(SIGSYS, &action, NULL);
	install_filter();
}
