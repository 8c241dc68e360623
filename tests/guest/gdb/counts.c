/* A kernel with symbols, for the debugger to watch. */
volatile int counter;
volatile struct Pair {
    int left, right;
} pair = { 17, 4 };

void work(void)
{
    for (;;) {
        counter += 3;
        pair.left ^= pair.right;
    }
}
