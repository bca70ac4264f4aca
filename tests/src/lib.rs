//! End-to-end tests of the running stack (`tests/it`), as an outside client sees it.
