#!/bin/bash
# Checks dependencies against the advisory database, where that can be reached.
if git ls-remote --exit-code https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then
  exec cargo deny check advisories
fi
echo "advisories: UNCHECKED, the advisory database cannot be reached from here"
