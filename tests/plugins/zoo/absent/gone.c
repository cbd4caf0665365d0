/* The library that missing_library.so was linked against and that is not there when it is opened. */
int zoo_gone(void);
int zoo_gone(void) { return 0; }
