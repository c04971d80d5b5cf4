"""The Helm chart and the files around it; `make test-chart` installs what these tests take."""
