"""Everything is killed, frozen and cut off at random while GPU jobs run; then a checker looks."""
