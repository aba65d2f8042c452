"""The contest and its winner: metrics, intervals, pictures, report and model card."""
