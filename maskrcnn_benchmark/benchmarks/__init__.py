"""The measurements that README and docs/ show; see tools/benchmark.py."""
