#!/bin/bash
# Runs one stage of a make verb: says what it is, how long it took, and why it failed.
title=$1
shift
start=$SECONDS
printf '==> %s\n' "$title"
"$@"
code=$?
if [ $code -eq 0 ]; then
  printf '==> %s: done in %s s\n' "$title" $((SECONDS - start))
else
  printf '==> %s: FAILED after %s s (exit %s): %s\n' "$title" $((SECONDS - start)) "$code" "$*" >&2
fi
exit $code
