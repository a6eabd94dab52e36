#!/usr/bin/env python3
"""Packs a root folder as container images: `archive.py ARCHIVE FOLDER NAME=COMMAND…`, COMMAND a JSON list.

The format is the one that `docker save` writes and containerd imports: manifest.json, a configuration for each image,
and one layer that all share.
"""
import hashlib
import io
import json
import subprocess
import sys
import tarfile

archive, folder, *images = sys.argv[1:]
layer = subprocess.run(["tar", "--sort=name", "--numeric-owner", "-C", folder, "-c", "."], check=True, capture_output=True).stdout
with tarfile.open(archive, "w") as output:

    def add(name, content):
        about = tarfile.TarInfo(name)
        about.size = len(content)
        output.addfile(about, io.BytesIO(content))

    add("layer.tar", layer)
    manifest = []
    for image in images:
        name, command = image.split("=", 1)
        configuration = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[subprocess.check_output(["uname", "-m"], text=True).strip()],
            "os": "linux",
            "config": {"Entrypoint": json.loads(command), "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        }
        content = json.dumps(configuration).encode()
        file = hashlib.sha256(content).hexdigest() + ".json"
        add(file, content)
        manifest.append({"Config": file, "RepoTags": [name], "Layers": ["layer.tar"]})
    add("manifest.json", json.dumps(manifest).encode())
