"""Remember facts about the person who talks, find them again, forget them."""
