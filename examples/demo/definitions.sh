# Print every class and function that is defined in the Python files of a folder, file by file.
find "$1" \( -name site-packages -o -name dist-packages \) -prune -o -name '*.py' -print0 |
	LC_ALL=C sort -z |
	xargs -0 -n 3 awk '/^ *(class|def|async def) / { print FILENAME ":" FNR ":" $0 }'
