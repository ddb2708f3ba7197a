/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The floor: so many times `sh -c true`, so many at a time, both streams through pipes, and nothing else. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

struct slot { pid_t pid; int out, err; };

static void start(struct slot *slot)
{
    static char *const words[] = {"sh", "-c", "true", NULL};
    extern char **environ;
    int out[2], err[2];
    if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) exit(1);
    pid_t pid = vfork();
    if (pid == 0) {
        setsid();
        dup2(out[1], 1);
        dup2(err[1], 2);
        execve("/bin/sh", words, environ);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    *slot = (struct slot){pid, out[0], err[0]};
}

static void finish(struct slot *slot)
{
    char bytes[65536];
    int status;
    while (read(slot->out, bytes, sizeof bytes) > 0) {}
    while (read(slot->err, bytes, sizeof bytes) > 0) {}
    close(slot->out);
    close(slot->err);
    waitpid(slot->pid, &status, 0);
}

int main(int count, char **words)
{
    if (count < 3) return 2;
    int slots = atoi(words[1]), jobs = atoi(words[2]), started = 0, running = 0;
    struct slot *all = calloc(slots, sizeof *all);
    struct pollfd *ends = calloc(slots, sizeof *ends);
    while (started < jobs && running < slots) { start(&all[running++]); started++; }
    while (running) {
        for (int i = 0; i < running; i++) ends[i] = (struct pollfd){all[i].out, POLLIN, 0};
        poll(ends, running, -1);
        for (int i = running - 1; i >= 0; i--) {
            if (!ends[i].revents) continue;
            finish(&all[i]);
            if (started < jobs) { start(&all[i]); started++; }
            else all[i] = all[--running];
        }
    }
    return 0;
}
