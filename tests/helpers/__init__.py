"""What the tests share: servers, browsers, generators, the oracle."""
