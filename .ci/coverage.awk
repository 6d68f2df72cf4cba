# Adds a Go cover profile up by package, and fails if one of them is below `least` percent.
# A block that several test binaries ran counts as covered if one of them covered it.
NR > 1 {
	split($1, place, ":")
	statements[$1] = $2
	if ($3 > 0) covered[$1] = 1
	package = place[1]
	sub(/\/[^\/]*$/, "", package)
	of[$1] = package
}
END {
	for (block in statements) {
		total[of[block]] += statements[block]
		if (block in covered) hit[of[block]] += statements[block]
	}
	for (package in total) {
		percent = 100 * hit[package] / total[package]
		printf "%6.1f%% of statements  %s\n", percent, package | "sort -k4"
		if (percent < least) failed = failed "\n" package
	}
	close("sort -k4")
	if (failed != "") {
		print "below " least "%:" failed
		exit 1
	}
}
