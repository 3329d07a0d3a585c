"""One page that shows a run: report.html in its folder, without anything from elsewhere."""
