"""Operations rewritten so that vmap can run them over particles."""
