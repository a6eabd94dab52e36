#!/bin/bash
# Switches a host on: gives it a control group of its own in every hierarchy, then namespaces, then its init.
# `start.sh GROUP DISK NAME`; GROUP is a path below /sys/fs/cgroup/*.
set -eu
group=$1

# Version 2 has one hierarchy, whose controllers each group hands down to those below it.
hand_down() {
  local controller
  for controller in $(cat "$1/cgroup.controllers"); do echo "+$controller" >"$1/cgroup.subtree_control"; done
}

hierarchies=(/sys/fs/cgroup/*)
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || hierarchies=(/sys/fs/cgroup)
for hierarchy in "${hierarchies[@]}"; do
  [ -e "$hierarchy/cgroup.procs" ] || continue
  mkdir -p "$hierarchy/$group"
  if [ "$hierarchy" = /sys/fs/cgroup ]; then
    hand_down "$hierarchy"
    hand_down "$hierarchy/${group%/*}"
  fi
  # What the host's last life left.
  find "$hierarchy/$group" -mindepth 1 -depth -type d -exec rmdir {} +
  if [ -e "$hierarchy/cpuset.cpus" ] && [ -e "$hierarchy/cgroup.clone_children" ]; then
    for folder in "$hierarchy/${group%/*}" "$hierarchy/$group"; do
      for what in cpus mems; do cat "$hierarchy/cpuset.$what" >"$folder/cpuset.$what"; done
      echo 1 >"$folder/cgroup.clone_children"
    done
  fi
  echo $$ >"$hierarchy/$group/cgroup.procs"
done

exec unshare --cgroup --net --mount --pid --uts --ipc --fork --kill-child=KILL --propagation private \
  bash "${0%/*}/init.sh" "${@:2}"
