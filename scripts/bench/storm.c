/* Creates files as fast as the kernel lets it: open, write, close, round robin over the directories.
 *
 *     storm ROOT DIRECTORIES FILES BYTES
 *
 * ROOT/d000 … must exist when DIRECTORIES is positive; a negative number makes them first, as part of the storm.
 * Prints the wall-clock time of the first open and of the last close, in nanoseconds since the epoch.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 5 || chdir(argv[1])) {
        perror("storm ROOT DIRECTORIES FILES BYTES");
        return 2;
    }
    int directories = atoi(argv[2]), files = atoi(argv[3]), bytes = atoi(argv[4]);
    char name[64], *content = calloc(1, bytes + 1);
    memset(content, 'x', bytes);
    long long started = now();
    int make = directories < 0;
    directories = abs(directories);
    for (int i = 0; make && i < directories; i++) {
        snprintf(name, sizeof name, "d%03d", i);
        if (mkdir(name, 0755)) {
            perror(name);
            return 1;
        }
    }
    for (int i = 0; i < files; i++) {
        snprintf(name, sizeof name, "d%03d/frames_%06d.jpg", i % directories, i);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (fd < 0 || write(fd, content, bytes) != bytes || close(fd)) {
            perror(name);
            return 1;
        }
    }
    printf("%lld %lld\n", started, now());
    return 0;
}
