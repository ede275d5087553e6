"""Projections: what a service keeps of another's data, in generations that can be built anew beside the one in use.

``generations`` is what handlers write through and readers read from; ``rebuild`` makes a new generation from the
owner's snapshot and the events of the meantime and switches to it; ``derived`` then makes anew what is made of the rows
of several; ``compare`` finds where a projection and its owner disagree; ``keeper`` does that once a day and removes old
generations. The decision is docs/adr/0012.
"""
