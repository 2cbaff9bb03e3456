//! FleetReport: collect what every worker reports about itself, and tell which versions run where.

mod crd;

pub use self::crd::{
    Expect, ExpectedVersion, Field, FieldCount, FleetReport, FleetReportSpec, FleetReportStatus, GroupBy, GroupCount,
    Limits, Outlier, Place, RejectedObject, RejectionReason, ReportCounts, Source, SourceStatus, Trust, VersionCount,
};
