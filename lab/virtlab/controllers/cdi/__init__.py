"""The Containerized Data Importer. Transfers are simulated: phases, progress and failures, without bytes."""
