"""Hold the pure rules of Holdfast: no sockets, no SQL, no threads, no user code."""
