"""The Compose stack without containers: its services as processes of this machine."""
