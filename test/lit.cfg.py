# The lit suite: .mlir files hold IR for lapidary-opt, .test files hold commands of the user's tools. Folders mirror the
# source tree. `scripts/test lit` runs it; one test: lit -v build/test/compiler/fuse-norm-linear.mlir.
#
# Substitutions: %models (checkpoints), %golden (reference cases), %tiny_bf16, %tiny_q8_0 and %tiny_mtp (compiled bundles),
# %python, %tools (test/tools in the sources). Features: `compiler` where the build has one, `bundles`, `jinja2`, `root`,
# `avx2`, `avx512`, `vulkan` where there is a device for it, `spirv-val` where that tool is. %vulkan sets the validation layer on, where it is installed.
import json
import os
import shutil
import subprocess

import lit.formats

config.name = "lapidary"
config.test_format = lit.formats.ShTest(execute_external=True)
# IR text is for tools that only a build with the compiler has.
config.suffixes = [".test"] if config.runtimeOnly else [".mlir", ".test"]
config.excludes = ["golden", "models", "fuzz"]
config.test_source_root = config.sourceRoot
config.test_exec_root = config.buildRoot

config.environment["PATH"] = os.pathsep.join(
    [config.tools, config.llvmTools, config.environment.get("PATH", os.environ.get("PATH", ""))]
)
# Two tests run at a time on a small machine: leave a core to the other one.
config.environment["LAPIDARY_THREADS"] = "2"

config.substitutions += [
    ("%models", config.sourceRoot + "/models"),
    ("%golden", config.sourceRoot + "/golden"),
    ("%tools", config.sourceRoot + "/tools"),
    ("%tiny_bf16", config.buildRoot + "/tiny-bf16.lap"),
    ("%tiny_q8_0", config.buildRoot + "/tiny-q8_0.lap"),
    ("%tiny_mtp", config.buildRoot + "/tiny-mtp.lap"),
    ("%python", config.python),
]

# Devices are what the tool under test finds; the layer makes it find none where it is missing.
def listDevices(**variables):
    try:
        command = [config.tools + "/lapidary", "devices", "--json"]
        found = subprocess.run(command, capture_output=True, env=dict(os.environ, **variables))
        return [device["device"] for device in json.loads(found.stdout)["devices"]]
    except (OSError, ValueError, KeyError):
        return []


validation = {"LAPIDARY_VULKAN_VALIDATION": "1"}
if "vulkan:0" in listDevices():
    config.available_features.add("vulkan")
    if "vulkan:0" not in listDevices(**validation):
        validation = {}
config.substitutions.append(("%vulkan", " ".join(f"{name}={value}" for name, value in validation.items())))
if shutil.which("spirv-val"):
    config.available_features.add("spirv-val")
if not config.runtimeOnly:
    config.available_features.add("compiler")
if os.path.exists(config.buildRoot + "/tiny-bf16.lap"):
    config.available_features.add("bundles")
if subprocess.run([config.python, "-c", "import jinja2"], stderr=subprocess.DEVNULL).returncode == 0:
    config.available_features.add("jinja2")
if os.geteuid() == 0:
    config.available_features.add("root")
# The instruction sets that the CPU target compiles for (targets/cpu/Variants.cpp).
with open("/proc/cpuinfo") as cpuinfo:
    flags = set(cpuinfo.read().split())
if {"avx2", "fma", "f16c", "bmi2"} <= flags:
    config.available_features.add("avx2")
    if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags:
        config.available_features.add("avx512")
