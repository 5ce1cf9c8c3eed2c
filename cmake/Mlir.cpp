// Only here so that the precompiled header has a translation unit.
