"""`milepost notify`: tells systems and people what changed. A process of its own, without Faust."""
