/* The floor of a removal: unlinks the paths on standard input, which come directory by directory, and nothing else.
 *
 *     unlink DIR < paths      one path a line, relative to DIR
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char line[4096], last[4096];
    int root, fd = -1;

    if (argc != 2)
        errx(2, "usage: unlink DIR < paths");
    if ((root = open(argv[1], O_RDONLY | O_DIRECTORY)) < 0)
        err(1, "%s", argv[1]);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *name = strrchr(line, '/');
        if (!name)
            errx(1, "%s: a name without a directory", line);
        *name++ = 0;
        if (strcmp(line, last)) {
            if (fd >= 0)
                close(fd);
            if ((fd = openat(root, line, O_RDONLY | O_DIRECTORY)) < 0)
                err(1, "%s", line);
            strcpy(last, line);
        }
        if (unlinkat(fd, name, 0))
            err(1, "%s/%s", line, name);
    }
    return 0;
}
