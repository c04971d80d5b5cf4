"""How Milepost is run: the command line, the embedded broker, the demo."""
