/* Raises events at a steady rate for as long as it is told: each file is created, written, closed, and removed later.
 *
 *     load ROOT DIRECTORIES FILES_A_SECOND FILES KEPT
 *
 * Four events a file: created, modified, closed after writing, deleted. KEPT files are there at a time. Prints how many
 * nanoseconds it took.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 6 || chdir(argv[1])) {
        perror("load ROOT DIRECTORIES FILES_A_SECOND FILES KEPT");
        return 2;
    }
    int directories = atoi(argv[2]);
    long rate = atol(argv[3]), files = atol(argv[4]), kept = atol(argv[5]);
    char name[64];
    for (int i = 0; i < directories; i++) {
        snprintf(name, sizeof name, "d%03d", i);
        if (mkdir(name, 0755)) {
            perror(name);
            return 1;
        }
    }
    struct timespec nap = {0, 1000000};
    long long started = now();
    for (long i = 0; i < files; i++) {
        while ((now() - started) / 1e9 * rate < i)
            nanosleep(&nap, NULL);
        snprintf(name, sizeof name, "d%03ld/frames_%08ld.jpg", i % directories, i);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (fd < 0 || write(fd, name, sizeof name) != sizeof name || close(fd)) {
            perror(name);
            return 1;
        }
        if (i < kept)
            continue;
        snprintf(name, sizeof name, "d%03ld/frames_%08ld.jpg", (i - kept) % directories, i - kept);
        if (unlink(name)) {
            perror(name);
            return 1;
        }
    }
    printf("%lld\n", now() - started);
    return 0;
}
