#include <stdio.h>
#include <unistd.h>

int main(void) {
    printf("Hello from C: uid %d, alone in this image.\n", (int) getuid());
    return 0;
}
