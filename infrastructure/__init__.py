"""What runs Dezky: the local fleet, the stand-ins of its outside systems, images and bootstrap."""
