"""Plan → image: the walk over the steps, and all that joins what decides with what does. The one room between both."""
