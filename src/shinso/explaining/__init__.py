"""Why a network answers what it answers: one file a method, and checks of what the methods say."""
